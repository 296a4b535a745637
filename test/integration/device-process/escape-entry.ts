/** A warden whose devices are the real ones until they are jailed; then each makes one attempt to get out, which the guest memory names. */
import { readFileSync } from 'node:fs';
import { type DeviceMaker, runWarden } from '#jail/warden-process.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { decodeBytes } from '#msg-socket/bytes.ts';
import { functionAt } from '#sys/native-code.ts';
import { installSeccompFilter } from '#sys/seccomp.ts';
import { SERIAL_FDS_BEFORE_ENDS } from '#vmm/devices/make-serial.ts';
import { DEVICE_MAKERS } from '#vmm/devices/registry.ts';
import { VIRTIO_FDS_BEFORE_QUEUES, VirtioParameters } from '#vmm/devices/virtio-process.ts';
import { ATTEMPTS, call, type Tools } from './attempts.ts';
import { KINDS, type Kind, MADE, ORDERS, PrisonSerial } from './orders.ts';

/** The end of the first mapping that can be written and executed. */
function writableCodeEnd(): number {
  const line = /^[0-9a-f]+-([0-9a-f]+) rwx/m.exec(readFileSync('/proc/self/maps', 'latin1'));
  return line === null ? 0 : Number.parseInt(line[1] ?? '', 16);
}

function escaping(kind: Kind, make: DeviceMaker): DeviceMaker {
  return (resources) => {
    const { fds, socket, guestMemory = -1, parameters } = resources;
    const serial = kind === 'serial' ? decodeBytes(PrisonSerial, parameters) : undefined;
    make({ ...resources, parameters: serial?.own ?? parameters });
    const { regions, queueCount } = serial
      ? { regions: serial.regions, queueCount: 0 }
      : decodeBytes(VirtioParameters, parameters);
    const memory = GuestMemory.borrowing(guestMemory, regions);
    const own = fds[kind === 'serial' ? SERIAL_FDS_BEFORE_ENDS : VIRTIO_FDS_BEFORE_QUEUES + queueCount] ?? -1;
    const victim = memory.readU32(ORDERS.VICTIM);
    const tools: Tools = { call, victim, socket, guestMemory, own, writableCodeEnd: writableCodeEnd() };
    return () => {
      const result = ATTEMPTS[memory.readU32(ORDERS.ATTEMPT)]?.make(tools) ?? -1;
      // An address counts as 0: what is of interest is the errno.
      memory.writeU32(ORDERS.RESULT[kind], Math.min(result, 0) >>> 0);
      return MADE;
    };
  };
}

runWarden({
  devices: Object.fromEntries(KINDS.map((kind) => [kind, escaping(kind, DEVICE_MAKERS[kind])])),
  installSeccomp: installSeccompFilter,
  warmUp: () => {
    new Date().toISOString();
    // The first use of either binds, compiles and maps.
    call('getpid');
    functionAt(0x1000);
  },
});

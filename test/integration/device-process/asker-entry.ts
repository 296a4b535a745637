/** A warden whose devices ask main for what the test tells them. They are entropy devices to the bus. */
import { RngParameters } from '#devices/virtio/rng/parameters.ts';
import { rng } from '#devices/virtio/rng/rng.ts';
import { type DeviceMaker, runWarden } from '#jail/warden-process.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { addSeals, ftruncate, memfdCreate, Seal } from '#sys/memory.ts';
import { installSeccompFilter } from '#sys/seccomp.ts';
import { CodedError } from '#util/errors.ts';
import { viewOf } from '#util/struct.ts';
import { VmIrq } from '#vm-control/vm-irq.ts';
import { type OwnResources, virtioMaker } from '#vmm/devices/virtio-process.ts';
import { Asker, MARKS } from './asker.ts';

const TIMEOUTS = { sendMs: 5000, receiveMs: 5000 };

/** Memory that begins with the device's mark. */
function memoryOf(name: string, sizeBytes: number, isSealed: boolean): Fd {
  if (!isSealed) {
    const fd = new Fd(memfdCreate(name));
    ftruncate(fd.fd, sizeBytes);
    addSeals(fd.fd, Seal.GROW);
    return fd;
  }
  const memory = SharedMemory.create(name, sizeBytes);
  using mapping = memory.map();
  viewOf(mapping.bytes).setUint32(0, MARKS[name] ?? 0, true);
  return new Fd(memory.release());
}

function asking({ name, fds, vmMemory, vmIoevent }: OwnResources<void>, irqSocket: Fd) {
  const irq = VmIrq.client(irqSocket, TIMEOUTS);
  let outcome = { code: 'none', value: 0 };
  let event: EventFd | undefined;
  const ask = (question: () => unknown): void => {
    try {
      outcome = { code: 'ok', value: Number(question() ?? 0) };
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      outcome = { code: error.code, value: 0 };
    }
  };
  const device = rng.create({ entropy: { fill: () => {}, keepFds: () => [] } });
  const control = Asker.server(fds[0] as Fd, {
    register: ({ sizeBytes, isSealed }) =>
      ask(() => {
        using memfd = memoryOf(name, sizeBytes, isSealed);
        return vmMemory?.registerMemory({ memfd, sizeBytes, readOnly: false }).slot ?? -1;
      }),
    unregister: ({ slot }) => ask(() => vmMemory?.unregisterMemory({ slot })),
    addIoevent: (place) =>
      ask(() => {
        const answer = vmIoevent?.registerIoevent(place);
        if (answer === undefined) return -1;
        event = EventFd.fromFd(answer.event);
        return answer.id;
      }),
    removeIoevent: ({ id }) => ask(() => vmIoevent?.unregisterIoevent({ id })),
    allocateGsi: () => ask(() => irq.allocateOneMsi({ irqfd: new Fd(EventFd.create().release()) }).gsi),
    route: ({ gsi }) => ask(() => irq.addMsiRoute({ gsi, address: 0xfee0_0000, data: 1 })),
    outcome: () => outcome,
    signals: () => ({ count: Number(event?.read() ?? 0n) }),
  });
  return { device, control };
}

/** The socket of the interrupts comes first. */
const asker: DeviceMaker = (resources) => {
  const irqSocket = new Fd(dup(resources.fds[0] ?? -1));
  return virtioMaker(RngParameters, (own) => asking(own, irqSocket))(resources);
};

runWarden({ devices: { rng: asker }, installSeccomp: installSeccompFilter });

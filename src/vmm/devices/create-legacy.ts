/** Main's side of legacy devices with processes of their own, serial ports aside. */
import { IRQ } from '#arch/x86_64/layout.ts';
import { proxyEndOf } from '#devices/proxy/proxied-bus-device.ts';
import type { JailConfig } from '#jail/jail-config.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { GiB } from '#util/bits.ts';
import { MachineReport } from '#vm-control/machine-report.ts';
import type { IsolatedDevice } from '../legacy-config.ts';
import type { CreateDevicesOptions, CreatedDevice, DeviceServer } from './create-devices.ts';
import { CmosParameters, I8042Parameters } from './make-legacy.ts';

export const LEGACY_POLICIES: Readonly<Record<IsolatedDevice, string>> = { i8042: 'i8042_device', cmos: 'cmos_device' };

type LegacyOptions = Pick<CreateDevicesOptions, 'warden' | 'irqRouter' | 'policies' | 'memory' | 'onReset'>;

/** What main makes for a device before its process is made. */
interface LegacyPlan {
  readonly parameters: Uint8Array;
  readonly own: HasFd;
  readonly servers: readonly DeviceServer[];
}

/** Asks for the process of one device and does not wait for it; `owned` gets what lives as long as the machine. Throws WardenError, SyscallError. */
export function createLegacy(
  kind: IsolatedDevice,
  jail: JailConfig,
  options: LegacyOptions,
  owned: DisposableStack,
): CreatedDevice {
  using opened = new DisposableStack();
  const plan = kind === 'cmos' ? planCmos(options, opened) : planI8042(options, opened, owned);
  const { parameters, own, servers } = plan;
  const request = { device: kind, name: kind, jail, usesGuestMemory: false, parameters };
  const requested = options.warden.request(request, [own.fd]);
  owned.use(requested.socket);
  return {
    id: requested.id,
    requested,
    name: kind,
    servers,
    policy: options.policies && LEGACY_POLICIES[kind],
    helper: undefined,
    end: proxyEndOf(kind, requested.socket.fd),
    place: { kind },
  };
}

function planCmos({ irqRouter, memory }: LegacyOptions, opened: DisposableStack): LegacyPlan {
  const irqfd = opened.use(EventFd.create());
  irqRouter.addEdgeIrqfd(IRQ.RTC, new Fd(dup(irqfd.fd)));
  const sizeOf = (isLow: boolean): number =>
    memory.regions
      .filter(({ guestAddress }) => guestAddress < 4 * GiB === isLow)
      .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const sizes = { lowMemoryBytes: sizeOf(true), highMemoryBytes: sizeOf(false) };
  return { parameters: encodeBytes(CmosParameters, sizes), own: irqfd, servers: [] };
}

function planI8042({ onReset }: LegacyOptions, opened: DisposableStack, owned: DisposableStack): LegacyPlan {
  const report = MachineReport.pair();
  const server = owned.use(MachineReport.server(report.server, { reset: () => onReset?.() }));
  return { parameters: encodeBytes(I8042Parameters, undefined), own: opened.use(report.client), servers: [server] };
}

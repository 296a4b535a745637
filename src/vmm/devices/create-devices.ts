/** Main's side of device processes: gives each device its addresses, interrupts and descriptors, and has it forked and jailed. */
import { PCI_INTX_GSIS } from '#arch/x86_64/layout.ts';
import { intxOf } from '#devices/pci/intx.ts';
import { allocateBars } from '#devices/pci/pci-bar.ts';
import { type ProxyEnd, proxyEndOf } from '#devices/proxy/proxied-bus-device.ts';
import type { ProxiedFunction } from '#devices/proxy/proxied-function.ts';
import { queueNotifyOffset, VIRTIO_BAR, virtioVectorCount } from '#devices/virtio/virtio-pci-device.ts';
import type { IrqRouter } from '#hypervisor/irq-router.ts';
import type { Vm } from '#hypervisor/vm.ts';
import { BASE_JAIL, type JailConfig } from '#jail/jail-config.ts';
import type { RequestedDevice, Warden } from '#jail/warden.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { EventFd } from '#poll/event-fd.ts';
import type { SystemAllocator } from '#resources/system-allocator.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import type { Log, LogLevel } from '#util/log.ts';
import { DeviceLogServer } from '#vm-control/device-log.ts';
import { type MsiHost, msiHandlers, VmIrq } from '#vm-control/vm-irq.ts';
import { consolePorts, jailedSerialPorts, serialConsoleOf } from '../console-config.ts';
import type { IsolatedDevice } from '../legacy-config.ts';
import type { PmemImage } from '../pmem-image.ts';
import type { Policies } from '../policies.ts';
import { createLegacy, LEGACY_POLICIES } from './create-legacy.ts';
import { createSerial } from './create-serial.ts';
import { grantSockets } from './grants.ts';
import { type BalloonClient, balloonPlan } from './plans/balloon.ts';
import { blockPlan, type DiskClient } from './plans/block.ts';
import { type ConsoleClient, type ConsoleHost, consolePlan, type InputChannel } from './plans/console.ts';
import { fsPlan } from './plans/fs.ts';
import { inputPlan } from './plans/input.ts';
import { netPlan } from './plans/net.ts';
import type { DeviceHelper, DevicePlan } from './plans/plan.ts';
import { pmemPlan } from './plans/pmem.ts';
import { rngPlan } from './plans/rng.ts';
import { serialPlan } from './plans/serial.ts';
import { vsockPlan } from './plans/vsock.ts';
import type { WantedDevices } from './start-warden.ts';
import { VirtioParameters } from './virtio-process.ts';

/** Nobody, on Debian and most others: what root's devices are outside of their user namespace. */
const NOBODY = { uid: 65534, gid: 65534 } as const;
/** As far from a jail as a forked device can be: its capabilities are dropped all the same. */
export const NO_JAIL: JailConfig = { namespaces: [], root: 'host', rlimits: {}, dumpable: true };

export interface CreateDevicesOptions extends Omit<WantedDevices, 'pmems'>, ConsoleHost {
  /** Those of `pmems`. */
  readonly pmemImages: readonly PmemImage[];
  readonly warden: Warden;
  readonly memoryRegions: Pick<Vm, 'addMemoryRegion' | 'removeMemoryRegion'>;
  readonly memory: GuestMemory;
  readonly allocator: SystemAllocator;
  readonly irqRouter: IrqRouter;
  /** The guest has asked for a reset, of a device with a process. */
  readonly onReset?: () => void;
  /** Undefined without a jail. */
  readonly policies: Policies | undefined;
  readonly logLevel: LogLevel;
  /** The log of a device of that name. */
  readonly logOf: (name: string) => Log;
}

/** One conversation with a device's process. */
export interface DeviceServer extends HasFd {
  /** Serves what waits: undefined when that is nothing, false when the process has closed its end. Throws CodedError. */
  tryServeOne(): boolean | undefined;
}

/** Where the guest finds a device: on the PCI bus, as one of the serial ports, 0 to 3, or at its place on the board. */
export type DevicePlace =
  | { readonly kind: 'pci'; readonly pciFunction: ProxiedFunction }
  | { readonly kind: 'serial'; readonly port: number }
  | { readonly kind: IsolatedDevice };

/** A device as main goes on with it. */
export interface CreatedDevice {
  /** The warden's number for it. */
  readonly id: number;
  readonly name: string;
  /** What the warden has been asked for: `Warden.forked` waits for it. */
  readonly requested: RequestedDevice;
  /** The seccomp policy that its process has; undefined without a jail. */
  readonly policy: string | undefined;
  readonly end: ProxyEnd;
  readonly place: DevicePlace;
  /** Main's ends of what the device's process asks or reports. */
  readonly servers: readonly DeviceServer[];
  /** A process that it needs. */
  readonly helper: DeviceHelper | undefined;
}

export type CreatedPciDevice = CreatedDevice & { readonly place: { readonly kind: 'pci' } };

export interface CreatedDevices {
  readonly devices: readonly CreatedDevice[];
  readonly balloon: BalloonClient;
  /** Where the machine has one. */
  readonly console: ConsoleClient | undefined;
  /** Where standard input goes, if a serial port with a process has it. */
  readonly serialInput: InputChannel | undefined;
  /** In the order of the configuration. */
  readonly disks: readonly DiskClient[];
}

/**
 * Has the warden make the devices that are asked for, and an entropy device and a balloon with them, and does not wait for them. `owned` gets what must live as long as the
 * machine. Throws ConfigError for a disk, network or path that cannot be used, WardenError when no process can be made,
 * MemoryRegionError and ResourceError when persistent memory has no room.
 */
export function createDevices(options: CreateDevicesOptions, owned: DisposableStack): CreatedDevices {
  using opened = new DisposableStack();
  const { plan, client } = balloonPlan(options.memory.sizeBytes, opened, owned);
  const { inputs, isolated = [], nets, serial, sharedDirs, vsock, pmemImages, allocator, memoryRegions } = options;
  const sandbox = options.policies !== undefined;
  const ports = consolePorts(serial);
  const console = ports.length === 0 ? undefined : consolePlan(ports, options, { opened, owned });
  const disks = options.disks.map((disk, index) => blockPlan(disk, index, { opened, owned }));
  const addMemoryRegion: Vm['addMemoryRegion'] = (region) => memoryRegions.addMemoryRegion(region);
  const plans = [
    rngPlan(opened),
    ...disks.map((disk) => disk.plan),
    ...nets.map((net, index) => netPlan(net, index, { opened, owned })),
    ...sharedDirs.map((dir, index) => fsPlan(dir, index, { opened, sandbox })),
    ...(vsock === undefined ? [] : [vsockPlan(vsock, opened, owned)]),
    ...(console === undefined ? [] : [console.plan]),
    ...inputs.map((input, index) => inputPlan(input, index, opened)),
    ...pmemImages.map((image, index) => pmemPlan(image, index, { allocator, addMemoryRegion }, opened)),
    plan,
  ];
  const serialPlans = jailedSerialPorts(serial).map((port) =>
    serialPlan(port, { ...options, isWatched: port === serialConsoleOf(serial) }, { opened, owned }),
  );
  // All policies before the first process.
  const jails = plans.map((each) => jailOf(each, options.policies));
  const serialJails = serialPlans.map((each) => jailOf(each, options.policies));
  const isolatedJails = isolated.map((kind) => jailOf({ policy: LEGACY_POLICIES[kind] }, options.policies));
  const devices = [
    ...plans.map((each, index) =>
      createDevice({ plan: each, jail: jails[index] ?? NO_JAIL, slot: index + 1 }, options, owned),
    ),
    ...serialPlans.map((each, index) => createSerial(each, serialJails[index] ?? NO_JAIL, options, owned)),
    ...isolated.map((kind, index) => createLegacy(kind, isolatedJails[index] ?? NO_JAIL, options, owned)),
  ];
  const serialInput = serialPlans.find(({ input }) => input !== undefined)?.input;
  return { devices, balloon: client, console: console?.client, serialInput, disks: disks.map((disk) => disk.client) };
}

/** Asks for one device in this slot of the PCI bus and does not wait for it; `owned` gets what lives as long as the machine. Throws WardenError, SyscallError. */
export function createDevice(
  { plan, jail, slot }: { readonly plan: DevicePlan; readonly jail: JailConfig; readonly slot: number },
  options: CreateDevicesOptions,
  owned: DisposableStack,
): CreatedPciDevice {
  const { warden, memory, allocator } = options;
  const { name, queueCount } = plan;
  const bars = allocateBars([VIRTIO_BAR], allocator, name);
  const queueEvents = Array.from({ length: queueCount }, () => owned.use(EventFd.create()));
  const ioevents = queueEvents.map(({ fd }, queue) => ({
    bar: VIRTIO_BAR.index,
    offset: queueNotifyOffset(queue),
    fd,
  }));
  using opened = new DisposableStack();
  const grants = plan.grants ?? {};
  const granted = grantSockets(grants, { name, bars, queueEvents: ioevents }, options, { opened, owned });
  const irq = VmIrq.pair();
  using irqClient = irq.client;
  const host = msiHost(options.irqRouter, allocator, name);
  const irqServer = owned.use(VmIrq.server(irq.server, msiHandlers(host, virtioVectorCount(queueCount))));
  const [ourLog, theirLog] = socketpair(SocketType.SEQPACKET);
  const logServer = owned.use(new DeviceLogServer(new Fd(ourLog), options.logOf(name)));
  using logClient = new Fd(theirLog);
  const address = { device: slot, function: 0 };
  const intx = intxOf(address, PCI_INTX_GSIS);
  using irqfd = EventFd.create();
  using resample = EventFd.create();
  const parameters = encodeBytes(VirtioParameters, {
    regions: memory.regions,
    queueCount,
    bars,
    intx,
    granted: { memory: grants.memory !== undefined, ioevents: grants.ioevents !== undefined },
    logLevel: options.logLevel,
    device: plan.parameters,
  });
  const requested = warden.request(
    { device: plan.device, name, jail, usesGuestMemory: true, parameters },
    [irqClient, logClient, irqfd, resample, ...queueEvents, ...granted.clients, ...plan.fds].map(({ fd }) => fd),
  );
  options.irqRouter.addLevelIrqfd(intx.gsi, new Fd(dup(irqfd.fd)), new Fd(dup(resample.fd)));
  owned.use(requested.socket);
  const end = proxyEndOf(name, requested.socket.fd);
  return {
    id: requested.id,
    name,
    requested,
    servers: [irqServer, logServer, ...granted.servers, ...(plan.server === undefined ? [] : [plan.server])],
    policy: options.policies && plan.policy,
    helper: plan.helper,
    end,
    place: { kind: 'pci', pciFunction: { ...end, address, bars, ioevents, sharedIoevents: granted.ioevents } },
  };
}

function msiHost(irqRouter: IrqRouter, allocator: SystemAllocator, name: string): MsiHost {
  return {
    allocateGsi: () => allocator.gsis.allocate(name),
    addIrqfd: (gsi, irqfd) => irqRouter.addIrqfd(gsi, irqfd),
    setMsiRoute: (gsi, address, data) => irqRouter.setMsiRoute(gsi, address, data),
  };
}

function jailOf({ policy, jail }: Pick<DevicePlan, 'policy' | 'jail'>, policies: Policies | undefined): JailConfig {
  if (policies === undefined) return NO_JAIL;
  const user = process.geteuid?.() === 0 && jail === undefined ? { user: NOBODY } : {};
  const denied = policies.logsFailures ? 'refuse' : 'kill';
  return { ...BASE_JAIL, ...user, ...jail, seccomp: policies.device(policy), denied };
}

/** Main's side of device processes: gives each device its addresses, interrupts and descriptors, and has it forked and jailed. */
import { allocateBars } from '#devices/pci/pci-bar.ts';
import type { ProxiedFunction } from '#devices/proxy/proxied-function.ts';
import { queueNotifyOffset, VIRTIO_BAR, virtioVectorCount } from '#devices/virtio/virtio-pci-device.ts';
import type { IrqRouter } from '#hypervisor/irq-router.ts';
import { BASE_JAIL, type JailConfig } from '#jail/jail-config.ts';
import type { Warden } from '#jail/warden.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import type { SystemAllocator } from '#resources/system-allocator.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import type { Log, LogLevel } from '#util/log.ts';
import { DeviceLogServer } from '#vm-control/device-log.ts';
import { type MsiHost, msiHandlers, VmIrq } from '#vm-control/vm-irq.ts';
import { consolePorts } from '../console-config.ts';
import type { Policies } from '../policies.ts';
import { type BalloonClient, balloonPlan } from './plans/balloon.ts';
import { blockPlan } from './plans/block.ts';
import { type ConsoleClient, type ConsoleHost, consolePlan } from './plans/console.ts';
import { netPlan } from './plans/net.ts';
import type { DeviceHelper, DevicePlan } from './plans/plan.ts';
import { rngPlan } from './plans/rng.ts';
import { vsockPlan } from './plans/vsock.ts';
import type { WantedDevices } from './start-warden.ts';
import type { VirtioParameters } from './virtio-process.ts';

/** Nobody, on Debian and most others: what root's devices are outside of their user namespace. */
const NOBODY = { uid: 65534, gid: 65534 } as const;
/** As far from a jail as a forked device can be: its capabilities are dropped all the same. */
const NO_JAIL: JailConfig = { namespaces: [], root: 'host', rlimits: {}, dumpable: true };

export interface CreateDevicesOptions extends WantedDevices, ConsoleHost {
  readonly warden: Warden;
  readonly memory: GuestMemory;
  readonly allocator: SystemAllocator;
  readonly irqRouter: IrqRouter;
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

/** A device as main goes on with it. */
export interface CreatedDevice {
  /** The warden's number for it. */
  readonly id: number;
  readonly name: string;
  /** The seccomp policy that its process has; undefined without a jail. */
  readonly policy: string | undefined;
  readonly pciFunction: ProxiedFunction;
  /** Main's ends of what the device's process asks or reports. */
  readonly servers: readonly DeviceServer[];
  /** A process that it needs. */
  readonly helper: DeviceHelper | undefined;
}

export interface CreatedDevices {
  readonly devices: readonly CreatedDevice[];
  readonly balloon: BalloonClient;
  /** Where the machine has one. */
  readonly console: ConsoleClient | undefined;
}

/**
 * Makes the devices that are asked for, and an entropy device and a balloon with them. `owned` gets what must live as long as the
 * machine. Throws ConfigError for a disk, network or path that cannot be used, WardenError when no process can be made.
 */
export function createDevices(options: CreateDevicesOptions, owned: DisposableStack): CreatedDevices {
  using opened = new DisposableStack();
  const { plan, client } = balloonPlan(options.memory.sizeBytes, opened, owned);
  const { disks, nets, serial, vsock } = options;
  const ports = consolePorts(serial);
  const console = ports.length === 0 ? undefined : consolePlan(ports, options, { opened, owned });
  const plans = [
    rngPlan(opened),
    ...disks.map((disk, index) => blockPlan(disk, index, opened)),
    ...nets.map((net, index) => netPlan(net, index, { opened, owned })),
    ...(vsock === undefined ? [] : [vsockPlan(vsock, opened, owned)]),
    ...(console === undefined ? [] : [console.plan]),
    plan,
  ];
  // All policies before the first process.
  const jails = plans.map(({ policy }) => jailOf(policy, options.policies));
  const devices = plans.map((each, index) =>
    createDevice({ plan: each, jail: jails[index] ?? NO_JAIL, slot: index + 1 }, options, owned),
  );
  return { devices, balloon: client, console: console?.client };
}

function createDevice(
  { plan, jail, slot }: { plan: DevicePlan; jail: JailConfig; slot: number },
  options: CreateDevicesOptions,
  owned: DisposableStack,
): CreatedDevice {
  const { warden, memory, allocator } = options;
  const { name, queueCount } = plan;
  const bars = allocateBars([VIRTIO_BAR], allocator, name);
  const queueEvents = Array.from({ length: queueCount }, () => owned.use(EventFd.create()));
  const irq = VmIrq.pair();
  using irqClient = irq.client;
  const host = msiHost(options.irqRouter, allocator, name);
  const irqServer = owned.use(VmIrq.server(irq.server, msiHandlers(host, virtioVectorCount(queueCount))));
  const [ourLog, theirLog] = socketpair(SocketType.SEQPACKET);
  const logServer = owned.use(new DeviceLogServer(new Fd(ourLog), options.logOf(name)));
  using logClient = new Fd(theirLog);
  const parameters: VirtioParameters = {
    regions: memory.regions,
    queueCount,
    bars,
    logLevel: options.logLevel,
    device: plan.parameters,
  };
  const forked = warden.fork(
    { device: plan.device, name, jail, usesGuestMemory: true, parameters },
    [irqClient, logClient, ...queueEvents, ...plan.fds].map(({ fd }) => fd),
  );
  owned.use(forked.pidfd);
  owned.use(forked.socket);
  return {
    id: forked.id,
    name,
    servers: [irqServer, logServer, ...(plan.server === undefined ? [] : [plan.server])],
    policy: options.policies && plan.policy,
    helper: plan.helper,
    pciFunction: {
      address: { device: slot, function: 0 },
      debugLabel: name,
      socketFd: forked.socket.fd,
      sequence: new Uint32Array(new SharedArrayBuffer(Uint32Array.BYTES_PER_ELEMENT)),
      bars,
      ioevents: queueEvents.map(({ fd }, queue) => ({ bar: VIRTIO_BAR.index, offset: queueNotifyOffset(queue), fd })),
    },
  };
}

function msiHost(irqRouter: IrqRouter, allocator: SystemAllocator, name: string): MsiHost {
  return {
    allocateGsi: () => allocator.gsis.allocate(name),
    addIrqfd: (gsi, irqfd) => irqRouter.addIrqfd(gsi, irqfd),
    setMsiRoute: (gsi, address, data) => irqRouter.setMsiRoute(gsi, address, data),
  };
}

function jailOf(policy: string, policies: Policies | undefined): JailConfig {
  if (policies === undefined) return NO_JAIL;
  const user = process.geteuid?.() === 0 ? { user: NOBODY } : {};
  return { ...BASE_JAIL, ...user, seccomp: policies.device(policy), denied: policies.logsFailures ? 'refuse' : 'kill' };
}

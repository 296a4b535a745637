/** What a device's process may ask of main besides interrupts: sockets that only kinds get which need them. */
import type { PlacedBar } from '#devices/pci/pci-bar.ts';
import { SharedIoevents, type SharedIoeventsDescription } from '#devices/proxy/shared-ioevents.ts';
import type { Vm } from '#hypervisor/vm.ts';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import type { SystemAllocator } from '#resources/system-allocator.ts';
import type { Fd } from '#sys/fd.ts';
import { MiB } from '#util/bits.ts';
import { type IoeventPlace, ioeventHandlers, VmIoevent } from '#vm-control/vm-ioevent.ts';
import { type MemoryGrant, type MemoryHost, memoryHandlers, VmMemory } from '#vm-control/vm-memory.ts';

export interface DeviceGrants {
  /** It may put memory among the guest's addresses. The machine must have room for that: VmOptions.regionRoomBytes. */
  readonly memory?: MemoryGrant;
  /** It may have so many places of its BARs signal eventfds, besides its queues'. */
  readonly ioevents?: number;
}

/** The device as main has it so far. */
export interface GrantedDevice {
  readonly name: string;
  readonly bars: readonly PlacedBar[];
  /** Places that signal eventfds already. */
  readonly queueEvents: readonly IoeventPlace[];
}

export interface GrantHost {
  readonly allocator: SystemAllocator;
  readonly memoryRegions: Pick<Vm, 'addMemoryRegion' | 'removeMemoryRegion'>;
}

export interface Granted {
  /** For the device's process, in this order: those of VmMemory and of VmIoevent, as far as they are granted. */
  readonly clients: readonly Fd[];
  readonly servers: readonly ProtocolServer[];
  /** For the buses of the vCPU threads. */
  readonly ioevents: SharedIoeventsDescription | undefined;
}

/** So that large pages can map it. */
const MEMORY_ALIGNMENT_BYTES = 2 * MiB;

/** `opened` gets the device's ends, `owned` what lives as long as the machine. Throws SyscallError. */
export function grantSockets(
  grants: DeviceGrants,
  device: GrantedDevice,
  host: GrantHost,
  { opened, owned }: { readonly opened: DisposableStack; readonly owned: DisposableStack },
): Granted {
  const clients: Fd[] = [];
  const servers: ProtocolServer[] = [];
  if (grants.memory !== undefined) {
    const ends = VmMemory.pair();
    clients.push(opened.use(ends.client));
    const handlers = memoryHandlers(memoryHost(host, device.name), grants.memory);
    servers.push(owned.use(VmMemory.server(ends.server, handlers)));
  }
  if (grants.ioevents === undefined) return { clients, servers, ioevents: undefined };
  const events = owned.use(new SharedIoevents(grants.ioevents));
  const ends = VmIoevent.pair();
  clients.push(opened.use(ends.client));
  const handlers = ioeventHandlers({
    bars: device.bars,
    taken: device.queueEvents,
    eventsMax: grants.ioevents,
    set: (event, place) => events.set(event, place),
    clear: (event) => events.clear(event),
  });
  servers.push(owned.use(VmIoevent.server(ends.server, handlers)));
  return { clients, servers, ioevents: events.describe() };
}

function memoryHost({ allocator, memoryRegions }: GrantHost, name: string): MemoryHost {
  const { highMmio } = allocator;
  return {
    allocate: (sizeBytes) => highMmio.allocate({ sizeBytes, alignment: MEMORY_ALIGNMENT_BYTES, tag: name }).start,
    release: (start, sizeBytes) => highMmio.release({ start, sizeBytes }),
    add: (region) => memoryRegions.addMemoryRegion(region),
    remove: (slot) => memoryRegions.removeMemoryRegion(slot),
  };
}

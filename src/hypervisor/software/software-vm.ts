import { PHYSICAL_BITS } from '#cpu/cpuid.ts';
import { RAM_BASE } from '#cpu/layout.ts';
import { ProcessorGroup } from '#cpu/processor-group.ts';
import { GuestMemory, type GuestMemoryDescription } from '#memory/guest-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import type { Clock } from '#util/clock.ts';
import type { Logger } from '#util/log.ts';
import type { IrqRouter } from '../irq-router.ts';
import type { MemoryRegion } from '../memory-region.ts';
import type { AttachOptions, Hypervisor, Vcpu, VcpuBus, Vm, VmDescription, VmOptions } from '../vm.ts';
import { SoftwareIrqChip } from './irq-chip.ts';
import { SoftwareIrqRouter } from './irq-router.ts';
import { Irqfds, type IrqfdsDescription } from './irqfds.ts';
import { MemoryRegions, regionStateWords } from './memory-regions.ts';
import { SOFTWARE_DEBUG_FEATURES } from './software-debug-features.ts';

const KIND = 'software';
/** Of a WebAssembly memory with 32-bit addresses. */
const MEMORY_BYTES_MAX = 2 ** 32;

/** The CPU is the larger part of this program; the main thread, which makes the machine, has no use for it. */
let vcpus: typeof import('./software-vcpu.ts') | undefined;

interface SoftwareVmDescription extends VmDescription {
  readonly kind: typeof KIND;
  readonly memory: GuestMemoryDescription;
  readonly vcpuCount: number;
  /** The interrupt chips' state, in shared memory. */
  readonly chipState: Int32Array;
  readonly resamples: readonly Resample[];
  /** Undefined for a machine without a router. */
  readonly irqfds: IrqfdsDescription | undefined;
  readonly regionState: Int32Array;
  readonly regionRoomBytes: number;
  /** Of the ProcessorGroup; undefined for a machine with one vCPU. */
  readonly groupState: Int32Array | undefined;
  readonly compiles: boolean;
}

/** An eventfd, the main thread's, to be signalled when the service of the GSI ends. */
interface Resample {
  readonly gsi: number;
  readonly fd: number;
}

interface Parts {
  readonly memory: GuestMemory;
  readonly vcpuCount: number;
  readonly chipState: Int32Array;
  readonly resamples: readonly Resample[];
  readonly irqfds: IrqfdsDescription | undefined;
  readonly regionState: Int32Array;
  readonly regionRoomBytes: number;
  readonly groupState: Int32Array | undefined;
  readonly compiles: boolean;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  /** False in the thread that made the VM: the others' memory closes with it. */
  readonly isAttached: boolean;
}

/** A VM whose processors are the software CPU: all that its threads share is guest memory, the interrupt chips' state and the list of memory regions. */
class SoftwareVm implements Vm {
  readonly memory: GuestMemory;
  readonly irqChip: SoftwareIrqChip;
  readonly #parts: Parts;
  readonly #resamples: { readonly gsi: number; readonly event: EventFd }[];
  #irqfds: { readonly own: Irqfds; readonly description: IrqfdsDescription } | undefined;
  /** Undefined in other threads than that which made the VM. */
  readonly #regions: MemoryRegions | undefined;

  constructor(parts: Parts) {
    const { memory, vcpuCount, regionState, regionRoomBytes, isAttached } = parts;
    this.#parts = parts;
    this.#resamples = parts.resamples.map(({ gsi, fd }) => ({ gsi, event: borrowedEvent(fd) }));
    if (parts.irqfds !== undefined) this.#takeIrqfds(parts.irqfds);
    this.memory = memory;
    const regions = { ramSizeBytes: memory.endAddress, roomBytes: regionRoomBytes, vcpuCount };
    this.#regions = isAttached ? undefined : new MemoryRegions(regionState, regions);
    this.irqChip = new SoftwareIrqChip(parts.chipState, {
      vcpuCount: parts.vcpuCount,
      clock: parts.clock,
      // The time-stamp counter counts the clock's nanoseconds.
      tscToNs: (_vcpuIndex, ticks) => ticks,
      onPending: (vcpuIndex) => this.#irqfds?.own.wake(vcpuIndex),
      onEnd: (gsi) => this.#resample(gsi),
    });
  }

  createVcpu(index: number, bus: VcpuBus): Vcpu {
    assert(index >= 0 && index < this.#parts.vcpuCount, 'a vCPU of this VM');
    assert(vcpus !== undefined, 'loadVcpus comes first');
    const { memory, irqChip } = this;
    return new vcpus.SoftwareVcpu({ ...this.#parts, index, bus, memory, irqChip, irqfds: this.#irqfds?.own });
  }

  kick(index: number): void {
    const localApic = this.irqChip.localApics[index];
    assert(localApic !== undefined, 'a vCPU of this VM');
    localApic.inbox.kick();
  }

  createIrqRouter(): IrqRouter {
    assert(this.#irqfds === undefined, 'one router');
    const router = new SoftwareIrqRouter({
      vcpuCount: this.#parts.vcpuCount,
      addResample: (gsi, { fd }) => void this.#resamples.push({ gsi, event: borrowedEvent(fd) }),
    });
    this.#takeIrqfds(router.describe());
    return router;
  }

  addMemoryRegion(region: MemoryRegion): number {
    return this.#ownRegions().add(region);
  }

  removeMemoryRegion(slot: number): void {
    this.#ownRegions().remove(slot);
  }

  /** All of them follow the machine's clock. */
  stopClocks(): void {}

  startClocks(): void {}

  describe(): SoftwareVmDescription {
    const { vcpuCount, chipState, regionState, regionRoomBytes, groupState, compiles } = this.#parts;
    const resamples = this.#resamples.map(({ gsi, event }) => ({ gsi, fd: event.fd }));
    const memory = this.memory.describe();
    const irqfds = this.#irqfds?.description;
    const shared = { chipState, regionState, regionRoomBytes, groupState };
    return { kind: KIND, memory, vcpuCount, resamples, irqfds, compiles, ...shared };
  }

  #takeIrqfds(description: IrqfdsDescription): void {
    this.#irqfds = { own: new Irqfds(description), description };
  }

  /** On the thread that ends the service, with the chips' lock held: a jailed device has no call that would make the write block. */
  #resample(ended: number): void {
    for (const { gsi, event } of this.#resamples) if (gsi === ended) event.write();
  }

  [Symbol.dispose](): void {
    this.#regions?.[Symbol.dispose]();
    if (this.#parts.isAttached) this.memory[Symbol.dispose]();
  }

  #ownRegions(): MemoryRegions {
    assert(this.#regions !== undefined, 'memory regions are the main thread’s');
    return this.#regions;
  }
}

/** Runs guests on the software CPU, on any host. */
export const softwareHypervisor: Hypervisor = {
  name: KIND,
  physicalAddressBits: PHYSICAL_BITS,
  debug: SOFTWARE_DEBUG_FEATURES,
  regionRoomBytesMax: (ramEnd) => Math.max(0, MEMORY_BYTES_MAX - RAM_BASE - ramEnd),
  createVm({ memory, vcpuCount, clock, log, regionRoomBytes = 0, compiles = true }: VmOptions): Vm {
    const chipState = sharedWords(SoftwareIrqChip.stateWords(vcpuCount));
    const regionState = sharedWords(regionStateWords(vcpuCount));
    const memoryBytes = memory.endAddress + regionRoomBytes;
    const groupState = vcpuCount > 1 ? sharedWords(ProcessorGroup.words(vcpuCount, memoryBytes)) : undefined;
    return new SoftwareVm({
      memory,
      vcpuCount,
      chipState,
      resamples: [],
      irqfds: undefined,
      regionState,
      regionRoomBytes,
      groupState,
      compiles,
      clock,
      log,
      isAttached: false,
    });
  },
  attachVm(description: VmDescription, { clock, log }: AttachOptions): Vm {
    assert(isSoftware(description), 'a description of this hypervisor');
    const memory = GuestMemory.borrowing(description.memory.fd, description.memory.regions);
    return new SoftwareVm({ ...description, memory, clock, log, isAttached: true });
  },
  async loadVcpus(): Promise<void> {
    vcpus ??= await import('./software-vcpu.ts');
  },
};

const sharedWords = (count: number): Int32Array =>
  new Int32Array(new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT));

/** The descriptor stays another's. */
function borrowedEvent(fd: number): EventFd {
  return EventFd.fromFd(new Fd(fd));
}

function isSoftware(description: VmDescription): description is SoftwareVmDescription {
  return description.kind === KIND;
}

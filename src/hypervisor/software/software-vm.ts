import { PHYSICAL_BITS } from '#cpu/cpuid.ts';
import { GuestMemory, type GuestMemoryDescription } from '#memory/guest-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import type { Clock } from '#util/clock.ts';
import type { Logger } from '#util/log.ts';
import type { IrqRouter } from '../irq-router.ts';
import type { AttachOptions, Hypervisor, Vcpu, VcpuBus, Vm, VmDescription, VmOptions } from '../vm.ts';
import { SoftwareIrqChip } from './irq-chip.ts';
import { SoftwareIrqRouter } from './irq-router.ts';
import { SoftwareVcpu } from './software-vcpu.ts';

const KIND = 'software';

interface SoftwareVmDescription extends VmDescription {
  readonly kind: typeof KIND;
  readonly memory: GuestMemoryDescription;
  readonly vcpuCount: number;
  /** The interrupt chips' state, in shared memory. */
  readonly chipState: Int32Array;
  readonly resamples: readonly Resample[];
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
  readonly clock: Clock;
  readonly log: Logger | undefined;
  /** Whether the memory closes with the VM. */
  readonly ownsMemory: boolean;
}

/** A VM whose processors are the software CPU: all that its threads share is guest memory and the interrupt chips' state. */
class SoftwareVm implements Vm {
  readonly memory: GuestMemory;
  readonly irqChip: SoftwareIrqChip;
  readonly #parts: Parts;
  readonly #resamples: { readonly gsi: number; readonly event: EventFd }[];

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#resamples = parts.resamples.map(({ gsi, fd }) => ({ gsi, event: borrowedEvent(fd) }));
    this.memory = parts.memory;
    this.irqChip = new SoftwareIrqChip(parts.chipState, {
      vcpuCount: parts.vcpuCount,
      clock: parts.clock,
      // The time-stamp counter counts the clock's nanoseconds.
      tscToNs: (_vcpuIndex, ticks) => ticks,
      onEnd: (gsi) => this.#resample(gsi),
    });
  }

  createVcpu(index: number, bus: VcpuBus): Vcpu {
    assert(index >= 0 && index < this.#parts.vcpuCount, 'a vCPU of this VM');
    const { clock, log } = this.#parts;
    return new SoftwareVcpu({ index, bus, clock, log, memory: this.memory, irqChip: this.irqChip });
  }

  kick(index: number): void {
    const localApic = this.irqChip.localApics[index];
    assert(localApic !== undefined, 'a vCPU of this VM');
    localApic.inbox.kick();
  }

  createIrqRouter(): IrqRouter {
    const { irqChip } = this;
    return new SoftwareIrqRouter({
      send: (address, data) => {
        irqChip.noteDeviceWrites();
        irqChip.send(address, data);
      },
      assertUntilEnd: (gsi) => {
        irqChip.noteDeviceWrites();
        irqChip.assertUntilEnd(gsi);
      },
      addResample: (gsi, { fd }) => void this.#resamples.push({ gsi, event: borrowedEvent(fd) }),
    });
  }

  describe(): SoftwareVmDescription {
    const { vcpuCount, chipState } = this.#parts;
    const resamples = this.#resamples.map(({ gsi, event }) => ({ gsi, fd: event.fd }));
    return { kind: KIND, memory: this.memory.describe(), vcpuCount, chipState, resamples };
  }

  /** On the thread that ends the service, with the chips' lock held: a jailed device has no call that would make the write block. */
  #resample(ended: number): void {
    for (const { gsi, event } of this.#resamples) if (gsi === ended) event.write();
  }

  [Symbol.dispose](): void {
    if (this.#parts.ownsMemory) this.memory[Symbol.dispose]();
  }
}

/** Runs guests on the software CPU, on any host. */
export const softwareHypervisor: Hypervisor = {
  name: KIND,
  physicalAddressBits: PHYSICAL_BITS,
  createVm({ memory, vcpuCount, clock, log }: VmOptions): Vm {
    const words = SoftwareIrqChip.stateWords(vcpuCount);
    const chipState = new Int32Array(new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT));
    return new SoftwareVm({ memory, vcpuCount, chipState, resamples: [], clock, log, ownsMemory: false });
  },
  attachVm(description: VmDescription, { clock, log }: AttachOptions): Vm {
    assert(isSoftware(description), 'a description of this hypervisor');
    const { vcpuCount, chipState, resamples } = description;
    const memory = GuestMemory.borrowing(description.memory.fd, description.memory.regions);
    return new SoftwareVm({ memory, vcpuCount, chipState, resamples, clock, log, ownsMemory: true });
  },
};

/** The descriptor stays another's. */
function borrowedEvent(fd: number): EventFd {
  return EventFd.fromFd(new Fd(fd));
}

function isSoftware(description: VmDescription): description is SoftwareVmDescription {
  return description.kind === KIND;
}

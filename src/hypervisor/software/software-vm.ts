import { PHYSICAL_BITS } from '#cpu/cpuid.ts';
import { GuestMemory, type GuestMemoryDescription } from '#memory/guest-memory.ts';
import { assert } from '#util/assert.ts';
import type { Clock } from '#util/clock.ts';
import type { Logger } from '#util/log.ts';
import type { IrqRouter } from '../irq-router.ts';
import type { AttachOptions, Hypervisor, Vcpu, VcpuBus, Vm, VmDescription, VmOptions } from '../vm.ts';
import { SoftwareIrqChip } from './irq-chip.ts';
import { SoftwareIrqRouter } from './irq-router.ts';

const KIND = 'software';

/** The CPU is the larger part of this program; the main thread, which makes the machine, has no use for it. */
let vcpus: typeof import('./software-vcpu.ts') | undefined;

interface SoftwareVmDescription extends VmDescription {
  readonly kind: typeof KIND;
  readonly memory: GuestMemoryDescription;
  readonly vcpuCount: number;
  /** The interrupt chips' state, in shared memory. */
  readonly chipState: Int32Array;
}

interface Parts {
  readonly memory: GuestMemory;
  readonly vcpuCount: number;
  readonly chipState: Int32Array;
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

  constructor(parts: Parts) {
    this.#parts = parts;
    this.memory = parts.memory;
    this.irqChip = new SoftwareIrqChip(parts.chipState, {
      vcpuCount: parts.vcpuCount,
      clock: parts.clock,
      // The time-stamp counter counts the clock's nanoseconds.
      tscToNs: (_vcpuIndex, ticks) => ticks,
    });
  }

  createVcpu(index: number, bus: VcpuBus): Vcpu {
    assert(index >= 0 && index < this.#parts.vcpuCount, 'a vCPU of this VM');
    assert(vcpus !== undefined, 'loadVcpus comes first');
    const { clock, log } = this.#parts;
    return new vcpus.SoftwareVcpu({ index, bus, clock, log, memory: this.memory, irqChip: this.irqChip });
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
    });
  }

  describe(): SoftwareVmDescription {
    const { vcpuCount, chipState } = this.#parts;
    return { kind: KIND, memory: this.memory.describe(), vcpuCount, chipState };
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
    return new SoftwareVm({ memory, vcpuCount, chipState, clock, log, ownsMemory: false });
  },
  attachVm(description: VmDescription, { clock, log }: AttachOptions): Vm {
    assert(isSoftware(description), 'a description of this hypervisor');
    const { vcpuCount, chipState } = description;
    const memory = GuestMemory.borrowing(description.memory.fd, description.memory.regions);
    return new SoftwareVm({ memory, vcpuCount, chipState, clock, log, ownsMemory: true });
  },
  async loadVcpus(): Promise<void> {
    vcpus ??= await import('./software-vcpu.ts');
  },
};

function isSoftware(description: VmDescription): description is SoftwareVmDescription {
  return description.kind === KIND;
}

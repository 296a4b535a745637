import type { VcpuState, Vm } from '#hypervisor/vm.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';

/** A machine that is built and loaded, ready for its vCPU threads. Owns memory and VM. */
export interface RunnableLinuxVm extends Disposable {
  readonly vm: Vm;
  readonly memory: GuestMemory;
  /** One for each vCPU. */
  readonly vcpuStates: readonly VcpuState[];
  readonly board: BoardDescription;
}

/** What a thread needs, beside the VM, to make its own board; it survives a structured clone. */
export interface BoardDescription {
  /** The devices' state in shared memory. */
  readonly state: Int32Array;
  readonly lowMemoryBytes: number;
  readonly highMemoryBytes: number;
  /** The high MMIO of PCI devices; of no size when there is none. */
  readonly highMmio: { readonly start: number; readonly sizeBytes: number };
}

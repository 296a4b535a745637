import type { SystemAllocator } from '#resources/system-allocator.ts';
import type { PciAddress } from './pci-address.ts';
import type { PlacedBar } from './pci-bar.ts';
import type { InterruptPin } from './registers.ts';

/** The guest's side of a function: what a bus calls, in whichever process the device is. What the guest does never throws. */
export interface PciBusDevice {
  /** Shown in messages. */
  readonly debugLabel: string;
  /** Register 0 to 1023 as 32 bits; all ones for one that there is not. */
  readConfigRegister(register: number): number;
  /** `data` holds the bytes of the register from `offset` (0 to 3) on, none beyond its end; valid during the call. */
  writeConfigRegister(register: number, offset: number, data: Uint8Array): void;
  /** Fills `data` from byte `offset` of the BAR on. The access lies inside the BAR. */
  readBar(bar: number, offset: number, data: Uint8Array): void;
  writeBar(bar: number, offset: number, data: Uint8Array): void;
  /** Stops the work that the device does by itself; it has stopped when this returns. A device that has no such work lacks both. */
  suspend?(): void;
  resume?(): void;
}

/** A place in a BAR where a write, of any size and value, does nothing but signal. It does not reach the device. */
export interface IoEvent {
  readonly bar: number;
  readonly offset: number;
  /** It gets another place, or none, while the guest runs: no hypervisor watches it. */
  readonly comesAndGoes?: boolean;
  /** An eventfd, as EventFd has it: a hypervisor may watch the place by itself and write to `fd`. */
  readonly event: { readonly fd: number; write(): void };
}

/**
 * A PCI device as the main process makes it: first it is given its interrupt and its addresses, then it goes into its process,
 * and from then on the bus calls it there.
 */
export interface PciDevice extends PciBusDevice {
  /** Descriptors that must stay open in the device's process. */
  keepFds(): readonly number[];
  /** Gives the device its INTx: `gsi` is what its pin arrives at. */
  assignIrq(gsi: number, pin: InterruptPin): void;
  /** Gives the BARs their addresses, once. Throws ResourceError when there is no room. */
  allocateIoBars(allocator: SystemAllocator): readonly PlacedBar[];
  /** Known once the BARs have their addresses. */
  readonly ioevents: readonly IoEvent[];
  /** Called in the device's process, after the jail is entered and before the first access. */
  onDeviceSandboxed?(): void;
}

/** A function on the bus. */
export interface PciFunction {
  readonly address: PciAddress;
  readonly device: PciBusDevice;
  /** As `allocateIoBars` gave them. */
  readonly bars: readonly PlacedBar[];
  readonly ioevents: readonly IoEvent[];
}

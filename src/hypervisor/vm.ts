/**
 * What the machine needs of a hypervisor. The seam fits KVM, whose objects are descriptors, as well as the software CPU, whose
 * objects are memory that threads share: a VM is made in the main thread, and every thread that works for it (one a vCPU)
 * attaches to its description, which survives a structured clone.
 */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { Clock } from '#util/clock.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import type { Logger } from '#util/log.ts';
import type { DebugFeatures, DebugStop, VcpuDebug } from './debug.ts';
import type { IoeventWatcher } from './ioevent-watcher.ts';
import type { IrqChip } from './irq-chip.ts';
import type { IrqRouter } from './irq-router.ts';
import type { MemoryRegion } from './memory-region.ts';
import type { FpuControl, MsrEntry, SpecialRegisters, VcpuRegisters } from './registers.ts';

/** The state that a vCPU starts in. */
export interface VcpuState {
  readonly general: VcpuRegisters;
  readonly special: SpecialRegisters;
  readonly fpu: FpuControl;
  readonly msrs: readonly MsrEntry[];
  /** Registers of the local APIC by their offset in its page. */
  readonly localApic: readonly { readonly offset: number; readonly value: number }[];
}

/** What a vCPU's accesses outside RAM reach. `data` holds 1, 2, 4 or 8 bytes, little endian, and is valid during the call. */
export interface VcpuBus {
  readPort(port: number, data: Uint8Array): void;
  writePort(port: number, data: Uint8Array): void;
  readMmio(address: number, data: Uint8Array): void;
  writeMmio(address: number, data: Uint8Array): void;
  /** Passes on what devices hold back. Called before the vCPU sleeps and, while it runs, within a millisecond of any write. */
  flush(): void;
  /** What devices of this thread do at times of their own. */
  readonly timers: DeadlineSource;
}

/** Why a vCPU stopped running. */
export type VcpuExit =
  /** `kick` was called. */
  | { readonly reason: 'kicked' }
  /** What `debug.prepare` has asked for has come. */
  | { readonly reason: 'debug'; readonly stop: DebugStop; readonly detail: string }
  /** A triple fault or its like; `detail` is for people. */
  | { readonly reason: 'shutdown'; readonly detail: string }
  /** The hypervisor failed. */
  | { readonly reason: 'internal-error'; readonly detail: string };

export interface Vcpu extends Disposable {
  readonly index: number;
  readonly debug: VcpuDebug;
  /** Sets the state to start in. Before the first `run`. */
  setState(state: VcpuState): void;
  /** Runs the guest on this thread until something other than an access to the bus stops it. */
  run(): VcpuExit;
  /** Figures for people and benches, by name. */
  statistics(): Readonly<Record<string, number>>;
}

export interface AttachOptions {
  readonly clock: Clock;
  /** Told of what the guest asks for and this processor does not have. */
  readonly log?: Logger | undefined;
}

/** A virtual machine as one thread sees it. */
export interface Vm extends Disposable {
  readonly memory: GuestMemory;
  readonly irqChip: IrqChip;
  /** Absent where the vCPUs' threads see all writes anyway. */
  readonly ioeventWatcher?: IoeventWatcher;
  /** Makes the vCPU that this thread runs. At most one vCPU in a thread. */
  createVcpu(index: number, bus: VcpuBus): Vcpu;
  /** Makes `run` of a vCPU return, now or when it is called next. From any thread. */
  kick(index: number): void;
  /** Makes the router of interrupts that come by eventfds. Once, in the main thread. Throws SyscallError. */
  createIrqRouter(): IrqRouter;
  /**
   * Puts a part of a file among the guest's physical addresses, before the vCPUs run or while they do. Returns the region's slot.
   * In the main thread. Throws MemoryRegionError (NO_ROOM), SyscallError.
   */
  addMemoryRegion(region: MemoryRegion): number;
  /** When it returns, no vCPU reaches the region any more. In the main thread. Throws MemoryRegionError (BUSY). */
  removeMemoryRegion(slot: number): void;
  /** The guest's own clocks stand still from now on, and go on. In the main thread, while no vCPU runs. */
  stopClocks(): void;
  startClocks(): void;
  /** What `attachVm` in another thread of this process needs. */
  describe(): VmDescription;
}

/** A VM's parts for another thread; `kind` names the hypervisor. */
export interface VmDescription {
  readonly kind: string;
}

export interface VmOptions extends AttachOptions {
  readonly memory: GuestMemory;
  readonly vcpuCount: number;
  /** What memory regions besides RAM may take in all; 0 by default. Some hypervisors set it aside. */
  readonly regionRoomBytes?: number;
  /** Where the processor is software: whether it compiles hot code; true by default. */
  readonly compiles?: boolean;
  /** Guest-physical address of four pages below 4 GiB that the machine uses for nothing: some hypervisors need them. */
  readonly spareAddress?: number;
}

export interface Hypervisor {
  readonly name: string;
  /** Guest-physical addresses have so many bits, as the guest's CPUID leaf 0x80000008 says. */
  readonly physicalAddressBits: number;
  readonly debug: DebugFeatures;
  /** The most that memory regions may take in all in a machine whose RAM ends at this address. */
  regionRoomBytesMax(ramEnd: number): number;
  /** Makes a VM over this memory, which stays the caller's and must outlive it. */
  createVm(options: VmOptions): Vm;
  /**
   * The VM of a description in another thread. The memory is mapped anew and unmapped with the VM; descriptors stay the
   * describer's, so that a thread that dies leaves none.
   */
  attachVm(description: VmDescription, options: AttachOptions): Vm;
  /** Loads what vCPUs are made of. Before `createVcpu`; a thread that makes none does without. */
  loadVcpus(): Promise<void>;
}

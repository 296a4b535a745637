import { randomFillSync } from 'node:crypto';
import { Cpu, type CpuStop, memoryPages } from '#cpu/cpu.ts';
import { createCpuid } from '#cpu/cpuid.ts';
import { JIT_DEFAULTS } from '#cpu/jit/jit.ts';
import { FLAG, RAM_BASE, STATE } from '#cpu/layout.ts';
import { ProcessorGroup } from '#cpu/processor-group.ts';
import { initialise, startUp } from '#cpu/reset.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import { overlayGuestMemory } from '#memory/wasm-overlay.ts';
import { compareExchange16 } from '#sys/exchange16.ts';
import { addressOf } from '#sys/ffi.ts';
import { yieldProcessor } from '#sys/scheduling.ts';
import type { Clock } from '#util/clock.ts';
import type { Logger } from '#util/log.ts';
import { debugExit } from '../debug.ts';
import type { Vcpu, VcpuBus, VcpuExit, VcpuState } from '../vm.ts';
import { loadFpuControl, loadGeneralRegisters, loadSpecialRegisters } from './cpu-state.ts';
import type { SoftwareIrqChip } from './irq-chip.ts';
import type { Irqfds, IrqSink } from './irqfds.ts';
import { KvmClock } from './kvm-clock.ts';
import type { LocalApic } from './local-apic.ts';
import { PENDING } from './local-apic-inbox.ts';
import { RegionFollower } from './memory-regions.ts';
import { SoftwareMsrs } from './msr-bus.ts';
import { SoftwareDebug } from './software-debug.ts';

/**
 * Instructions between two looks at timers, kicks and held-back output: at most 0.3 ms at the interpreter's slowest, and few
 * enough looks (about 0.2 µs each) to cost nothing.
 */
const SLICE_INSTRUCTIONS = 30_000;
/** With a timer due sooner, as many as fit at so many nanoseconds each, but enough to get on. */
const NS_PER_INSTRUCTION = 4;
const SHORTEST_SLICE = 1_000;

/**
 * Where there are several processors, instructions between two looks at what the others want: they wait for it, and for the answers to
 * their interrupts.
 */
const GROUP_INSTRUCTIONS = 4_000;
/** With so many PAUSE instructions among them it waits for another processor, whose thread may want the core. */
const SPINNING_PAUSES = 500;

/** A sleep's length is bounded, so that a clock that is set wrong cannot make it endless. */
const LONGEST_SLEEP_NS = 60e9;

const KICKED: VcpuExit = { reason: 'kicked' };
/** The bootstrap processor would go to the reset vector, where firmware would be. */
const INITIALISED: VcpuExit = { reason: 'shutdown', detail: 'INIT: the machine has no firmware to start again with' };

export interface SoftwareVcpuOptions {
  readonly index: number;
  readonly bus: VcpuBus;
  readonly clock: Clock;
  readonly memory: GuestMemory;
  readonly irqChip: SoftwareIrqChip;
  /** Interrupts of devices in other processes, where the machine has any. */
  readonly irqfds: Irqfds | undefined;
  /** See MemoryRegions. */
  readonly regionState: Int32Array;
  readonly regionRoomBytes: number;
  /** Of the ProcessorGroup; undefined for the only vCPU of its machine. */
  readonly groupState: Int32Array | undefined;
  /** Whether hot code is compiled. */
  readonly compiles: boolean;
  readonly log: Logger | undefined;
}

/** A processor in software: the CPU, its local APIC, and the loop that looks after time and sleep. */
export class SoftwareVcpu implements Vcpu {
  readonly index: number;
  readonly debug: SoftwareDebug;
  readonly #options: SoftwareVcpuOptions;
  readonly #cpu: Cpu;
  readonly #localApic: LocalApic;
  readonly #msrs: SoftwareMsrs;
  readonly #irqSink: IrqSink;
  /** Undefined where the machine has no room for regions besides RAM. */
  readonly #regions: RegionFollower | undefined;
  /** Undefined for the only processor. */
  readonly #group: ProcessorGroup | undefined;
  #sleepNs = 0;
  #seenDeviceWrites = 0;

  constructor(options: SoftwareVcpuOptions) {
    const { index, memory, irqChip, clock, log, regionRoomBytes } = options;
    this.index = index;
    this.#options = options;
    const localApic = irqChip.localApics[index] as LocalApic;
    this.#localApic = localApic;
    this.#irqSink = sinkOf(irqChip);
    const kvmClock = new KvmClock(clock, {
      contains: (address, sizeBytes) => memory.contains(address, sizeBytes),
      readU32: (address) => memory.readU32(address),
      write: (address, data) => this.#cpu.mmu.writeRam(address, data),
    });
    this.#msrs = new SoftwareMsrs({ localApic, kvmClock, clock, log });
    const ramSizeBytes = memory.endAddress;
    const pages = memoryPages(ramSizeBytes + regionRoomBytes);
    const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    overlayGuestMemory(wasmMemory, RAM_BASE, memory);
    this.#group = groupOf(options, wasmMemory);
    const bus = this.#outside(options.bus);
    this.#cpu = new Cpu({
      memory: wasmMemory,
      ramSizeBytes,
      regionRoomBytes,
      devices: mmioOf(bus, localApic),
      ports: new BusPorts(bus),
      interrupts: {
        pending: () => (localApic.pending() & PENDING.INTERRUPT) !== 0,
        acknowledge: () => this.#acknowledge(),
        nmiPending: () => (localApic.pending() & PENDING.NMI) !== 0,
        acknowledgeNmi: () => void localApic.takeNmi(),
        readTaskPriority: () => localApic.readCr8(),
        writeTaskPriority: (value) => localApic.writeCr8(value),
      },
      msrs: this.#msrs,
      clock,
      random: (target) => void randomFillSync(target),
      cpuid: createCpuid({
        localApic: true,
        paravirtualClock: true,
        apicId: localApic.id,
        count: irqChip.localApics.length,
      }),
      group: this.#group,
      jit: options.compiles ? JIT_DEFAULTS : undefined,
    });
    this.debug = new SoftwareDebug(this.#cpu, (action) => this.#inGuest(action));
    const { mmu } = this.#cpu;
    const follower = { vcpuIndex: index, memory: wasmMemory, ramBase: RAM_BASE, mmu };
    if (regionRoomBytes > 0) this.#regions = new RegionFollower(options.regionState, follower);
  }

  /** Application processors begin as INIT leaves them, whatever the registers say. */
  setState(state: VcpuState): void {
    const cpu = this.#cpu;
    if (this.#localApic.isBootProcessor) {
      loadSpecialRegisters(cpu, state.special);
      loadGeneralRegisters(cpu, state.general);
    } else initialise(cpu);
    loadFpuControl(cpu, state.fpu);
    this.#msrs.set(state.msrs);
    for (const { offset, value } of state.localApic) this.#localApic.writeRegister(offset, value);
  }

  run(): VcpuExit {
    const { bus, irqfds } = this.#options;
    for (;;) {
      irqfds?.turn(this.#irqSink);
      const deadlineNs = this.#advanceTimers();
      if (this.#localApic.inbox.take(PENDING.KICK)) return KICKED;
      if (this.#localApic.takeInit()) {
        if (this.#localApic.isBootProcessor) return INITIALISED;
        initialise(this.#cpu);
      }
      if (!this.#isStarted()) {
        this.#sleep();
        continue;
      }
      const stop = this.debug.steps ? this.#inGuest(() => this.#cpu.step()) : this.#runGuest(this.#slice(deadlineNs));
      bus.flush();
      const debugStop = this.debug.stopOf(stop);
      if (debugStop !== undefined) return debugExit(debugStop);
      if (stop.reason === 'triple-fault') {
        return { reason: 'shutdown', detail: `triple fault; the first exception's vector was ${stop.vector}` };
      }
      if (stop.reason === 'halt') this.#sleep();
    }
  }

  statistics(): Readonly<Record<string, number>> {
    const { instructions, code, mmu } = this.#cpu;
    return {
      instructions,
      decodedInstructions: code.decoded,
      codeFlushes: code.flushes,
      tlbMisses: mmu.misses,
      compiledRegions: this.#cpu.jit?.compiled ?? 0,
      compiledBytes: this.#cpu.jit?.compiledBytes ?? 0,
      compileMs: Math.round(this.#cpu.jit?.compileMs ?? 0),
      groupRequests: this.#group?.requests ?? 0,
      sleepMs: Math.round(this.#sleepNs / 1e6),
    };
  }

  [Symbol.dispose](): void {
    // The WebAssembly memory and the overlay in it go when they are collected.
  }

  /** Whether the processor has been started; takes the message that starts it. */
  #isStarted(): boolean {
    const localApic = this.#localApic;
    if ((localApic.pending() & PENDING.STARTUP) !== 0) {
      const page = localApic.takeStartup();
      if (page >= 0) startUp(this.#cpu, page);
    }
    return !localApic.isWaitingForStartup();
  }

  #runGuest(budget: number): CpuStop {
    if (this.#isUnshared) return this.#cpu.run(budget);
    this.#enter();
    try {
      return this.#group === undefined ? this.#cpu.run(budget) : this.#runInGroup(budget, this.#group);
    } finally {
      this.#leave();
    }
  }

  /** Does this as guest code runs. */
  #inGuest<Result>(action: () => Result): Result {
    this.#enter();
    try {
      return action();
    } finally {
      this.#leave();
    }
  }

  #runInGroup(budget: number, group: ProcessorGroup): CpuStop {
    for (let left = budget; ; left -= GROUP_INSTRUCTIONS) {
      const stop = this.#cpu.run(Math.min(left, GROUP_INSTRUCTIONS));
      if (stop.reason !== 'budget' || left <= GROUP_INSTRUCTIONS) return stop;
      this.#yieldIfSpinning();
      if ((this.#localApic.pending() & (PENDING.KICK | PENDING.INIT)) !== 0) return stop;
      group.poll();
    }
  }

  #yieldIfSpinning(): void {
    const { words } = this.#cpu;
    if ((words[STATE.PAUSES >> 2] as number) >= SPINNING_PAUSES) {
      this.#leave();
      yieldProcessor();
      this.#enter();
    }
    words[STATE.PAUSES >> 2] = 0;
  }

  /** Whether nobody waits for this processor to run no guest code. */
  get #isUnshared(): boolean {
    return this.#regions === undefined && this.#group === undefined;
  }

  #enter(): void {
    this.#group?.enter();
    this.#regions?.enter();
  }

  #leave(): void {
    this.#regions?.leave();
    this.#group?.leave();
  }

  /** The bus, whose devices may make the processor wait: no guest code runs meanwhile. */
  #outside(bus: VcpuBus): BusAccess {
    if (this.#options.regionRoomBytes === 0 && this.#group === undefined) return bus;
    const leaving = (access: (at: number, data: Uint8Array) => void) => (at: number, data: Uint8Array) => {
      this.#leave();
      try {
        access(at, data);
      } finally {
        this.#enter();
      }
    };
    return {
      readPort: leaving((port, data) => bus.readPort(port, data)),
      writePort: leaving((port, data) => bus.writePort(port, data)),
      readMmio: leaving((address, data) => bus.readMmio(address, data)),
      writeMmio: leaving((address, data) => bus.writeMmio(address, data)),
    };
  }

  /** Does what is due; returns the next deadline. */
  #advanceTimers(): number {
    const { bus, clock, irqChip } = this.#options;
    const nowNs = clock.nowNs();
    if (this.#localApic.nextDeadlineNs() <= nowNs) this.#localApic.advance(nowNs);
    if (irqChip.nextDeadlineNs() <= nowNs) irqChip.advance(nowNs);
    if (bus.timers.nextDeadlineNs() <= nowNs) bus.timers.advance(nowNs);
    return Math.min(this.#localApic.nextDeadlineNs(), irqChip.nextDeadlineNs(), bus.timers.nextDeadlineNs());
  }

  /**
   * Takes an interrupt. If it may be a device's that has written guest memory, what was decoded is compared with memory before it
   * runs again: of DMA into code nothing else tells.
   */
  #acknowledge(): number {
    const { deviceWrites } = this.#options.irqChip;
    if (deviceWrites !== this.#seenDeviceWrites) {
      this.#seenDeviceWrites = deviceWrites;
      this.#cpu.code.recheck();
    }
    return this.#localApic.acknowledge();
  }

  #slice(deadlineNs: number): number {
    if (deadlineNs === Infinity) return SLICE_INSTRUCTIONS;
    const untilNs = deadlineNs - this.#options.clock.nowNs();
    return Math.max(SHORTEST_SLICE, Math.min(SLICE_INSTRUCTIONS, untilNs / NS_PER_INSTRUCTION)) | 0;
  }

  /** HLT: until an interrupt that would be taken, a timer or a kick. Before the start: until the message that starts it. */
  #sleep(): void {
    const { clock } = this.#options;
    const startNs = clock.nowNs();
    const interruptible = ((this.#cpu.words[STATE.FLAGS >> 2] as number) & FLAG.IF) !== 0;
    // What would not be taken must not end the sleep either.
    const nmi = this.#cpu.system.nmiBlocked ? 0 : PENDING.NMI;
    const events = this.#localApic.isWaitingForStartup()
      ? PENDING.STARTUP
      : nmi | (interruptible ? PENDING.INTERRUPT : 0);
    const mask = PENDING.KICK | PENDING.INIT | events;
    const untilNs = Math.min(Math.max(0, this.#advanceTimers() - startNs), LONGEST_SLEEP_NS);
    const { irqfds } = this.#options;
    if (irqfds === undefined) this.#localApic.waitPending(mask, untilNs / 1e6);
    else irqfds.sleep(this.#localApic, mask, untilNs);
    this.#sleepNs += clock.nowNs() - startNs;
  }
}

function groupOf(
  { index, memory, irqChip, regionRoomBytes, groupState }: SoftwareVcpuOptions,
  wasmMemory: WebAssembly.Memory,
): ProcessorGroup | undefined {
  if (groupState === undefined) return undefined;
  const exchange = compareExchange16();
  const base = addressOf(wasmMemory.buffer);
  return new ProcessorGroup(groupState, {
    index,
    count: irqChip.localApics.length,
    memoryBytes: memory.endAddress + regionRoomBytes,
    compareExchange16: (place, block) => exchange(base + place, base + block),
  });
}

/** Devices in other processes write guest memory before they tell. */
function sinkOf(irqChip: SoftwareIrqChip): IrqSink {
  return {
    send: (address, data) => {
      irqChip.noteDeviceWrites();
      irqChip.send(address, data);
    },
    assertUntilEnd: (gsi) => {
      irqChip.noteDeviceWrites();
      irqChip.assertUntilEnd(gsi);
    },
    pulse: (gsi) => irqChip.pulse(gsi),
  };
}

type BusAccess = Pick<VcpuBus, 'readPort' | 'writePort' | 'readMmio' | 'writeMmio'>;

/** Port accesses of the CPU as bus accesses; the buffers are used over and over. */
class BusPorts {
  readonly #bus: BusAccess;
  readonly #data: Readonly<Record<number, Uint8Array>> = {
    1: new Uint8Array(1),
    2: new Uint8Array(2),
    4: new Uint8Array(4),
  };

  constructor(bus: BusAccess) {
    this.#bus = bus;
  }

  read(port: number, sizeBytes: number): number {
    const data = this.#data[sizeBytes] as Uint8Array;
    this.#bus.readPort(port, data);
    let value = 0;
    for (let i = sizeBytes - 1; i >= 0; i--) value = (value << 8) | (data[i] as number);
    return value >>> 0;
  }

  write(port: number, sizeBytes: number, value: number): void {
    const data = this.#data[sizeBytes] as Uint8Array;
    for (let i = 0; i < sizeBytes; i++) data[i] = value >>> (8 * i);
    this.#bus.writePort(port, data);
  }
}

/** The local APIC's page is the processor's own; all else is the bus's. */
function mmioOf(bus: BusAccess, localApic: LocalApic) {
  const PAGE = 4096;
  const inPage = (address: number): boolean => {
    const page = localApic.pageAddress();
    return page >= 0 && address >= page && address < page + PAGE;
  };
  return {
    read: (address: number, data: Uint8Array): void => {
      if (inPage(address)) localApic.read(address % PAGE, data);
      else bus.readMmio(address, data);
    },
    write: (address: number, data: Uint8Array): void => {
      if (inPage(address)) localApic.write(address % PAGE, data);
      else bus.writeMmio(address, data);
    },
  };
}

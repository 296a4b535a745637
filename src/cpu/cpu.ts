/** The software x86-64 processor: state, engine and the loop around it. Knows physical memory, ports and time, not the VM. */
import type { Clock } from '#util/clock.ts';
import { AddressMap } from './address-map.ts';
import { CodeCache } from './code-cache.ts';
import { Debugging } from './debugging.ts';
import { createEngine, type Engine, type EngineImports } from './engine.ts';
import { ExceptionUnit } from './exceptions.ts';
import { FarTransfer } from './far-transfer.ts';
import type { Helper } from './helpers/context.ts';
import { createHelpers } from './helpers.ts';
import { Jit, type JitOptions } from './jit/jit.ts';
import { CC, CODE_KEY, FLAG, GPR, RAM_BASE, RECORD, SEGMENT, STATE, STOP } from './layout.ts';
import { LockedAccess, type WideLocks } from './locked-access.ts';
import { MemoryUnit, type PhysicalDevices } from './memory-unit.ts';
import type { ProcessorGroup } from './processor-group.ts';
import { SegmentUnit } from './segments.ts';
import { Stack } from './stack.ts';
import { SystemState, VECTOR } from './system-state.ts';
import { CALL_INDIRECT, JMP_INDIRECT, RET } from './uops/control.ts';
import { DEBUGGER_VECTOR, type Watchpoint } from './watchpoints.ts';

/** Port I/O. Sizes are 1, 2 and 4 bytes; values are unsigned. */
export interface Ports {
  read(port: number, sizeBytes: number): number;
  write(port: number, sizeBytes: number, value: number): void;
}

/** Where external interrupts come from: the local APIC, or nothing. */
export interface InterruptSource {
  /** Whether an interrupt waits that the processor would take now; asked often, so cheap. */
  pending(): boolean;
  /** Takes it: its vector, or −1 when it has gone. */
  acknowledge(): number;
  /** Whether a non-maskable interrupt waits. */
  nmiPending(): boolean;
  acknowledgeNmi(): void;
  /** CR8, bits 7 to 4 of the task priority. */
  readTaskPriority(): number;
  writeTaskPriority(value: number): void;
}

/** MSRs of what stands beside the core, the local APIC and paravirtual clock. */
export interface MsrBus {
  /** The value as [low, high], or null when there is none: #GP. */
  read(index: number): readonly [number, number] | null;
  write(index: number, low: number, high: number): boolean;
}

export interface CpuOptions {
  readonly memory: WebAssembly.Memory;
  readonly ramSizeBytes: number;
  /** What memory regions outside RAM may take in all, behind RAM in `memory`; none when left out. */
  readonly regionRoomBytes?: number;
  readonly devices: PhysicalDevices;
  readonly ports: Ports;
  readonly interrupts: InterruptSource;
  readonly msrs: MsrBus;
  readonly clock: Clock;
  /** Fills the bytes of RDRAND and RDSEED. */
  readonly random: (target: Uint8Array) => void;
  /** The leaves of CPUID as [eax, ebx, ecx, edx]. */
  readonly cpuid: (leaf: number, subleaf: number) => readonly [number, number, number, number];
  /** Where other processors run over the same memory: what they owe each other. */
  readonly group?: ProcessorGroup | undefined;
  /** The group's unless it is given. */
  readonly wideLocks?: WideLocks | undefined;
  /** False decodes each instruction whenever it runs: what tests compare the code cache with. True when left out. */
  readonly keepsBlocks?: boolean;
  /** Compiles hot code; without it all is interpreted. */
  readonly jit?: JitOptions | undefined;
}

/** Why `run` returned. */
export type CpuStop =
  | { readonly reason: 'halt' }
  | { readonly reason: 'budget' }
  /** The vector is that of the exception which all began with. */
  | { readonly reason: 'triple-fault'; readonly vector: number }
  /** A debugger's breakpoint is at RIP, whose instruction has not run. */
  | { readonly reason: 'breakpoint' }
  /** The instruction before RIP, or what has been delivered since, has met data that a debugger watches. */
  | { readonly reason: 'watchpoint'; readonly watchpoint: Watchpoint }
  | { readonly reason: 'stepped' };

/** Instructions after which no trap follows if they have cleared TF: they have gone to a handler. */
const ENTERS_HANDLER: ReadonlySet<string> = new Set(['INT', 'INTO', 'SYSCALL']);
/** DR6.BS. */
const DR6_SINGLE_STEP = 1 << 14;

const HALT: CpuStop = { reason: 'halt' };
const BUDGET_USED: CpuStop = { reason: 'budget' };
const BREAKPOINT: CpuStop = { reason: 'breakpoint' };
const STEPPED: CpuStop = { reason: 'stepped' };

/** Size of the WebAssembly memory for this much guest RAM and regions besides, in 64 KiB pages. */
export const memoryPages = (sizeBytes: number): number => Math.ceil((RAM_BASE + sizeBytes) / 65536);

export class Cpu {
  readonly system = new SystemState();
  readonly mmu: MemoryUnit;
  readonly locked: LockedAccess;
  readonly code: CodeCache;
  readonly engine: Engine;
  readonly jit: Jit | undefined;
  readonly exceptions: ExceptionUnit;
  readonly segments: SegmentUnit;
  readonly stack: Stack;
  readonly farTransfer: FarTransfer;
  readonly debugging: Debugging;
  readonly options: CpuOptions;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** General registers and everything else in the state block, as 64-bit numbers. */
  readonly quads: BigInt64Array;
  halted = false;
  #instructions = 0;
  #given = 0;
  #poll = false;
  /** Low half of RIP after the STI, MOV SS or POP SS that ran last, until an interrupt has waited there. */
  #shadowLow = 0;
  #hasShadow = false;
  /** The delivery of an interrupt has ended in a shutdown. */
  #down = false;
  #atBreakpoint = false;

  constructor(options: CpuOptions) {
    this.options = options;
    const { buffer } = options.memory;
    const map = new AddressMap(options.ramSizeBytes, options.regionRoomBytes ?? 0);
    this.mmu = new MemoryUnit(buffer, map, this.system, options.devices);
    this.locked = new LockedAccess(this.mmu, options.wideLocks ?? options.group);
    this.words = this.mmu.words;
    this.bytes = this.mmu.bytes;
    this.quads = new BigInt64Array(buffer, 0, 0x800 / 8);
    this.code = new CodeCache(buffer, this.mmu, {
      keepsBlocks: options.keepsBlocks ?? true,
      samePage: (page, copy, chunks) => this.engine.samePage(page, copy, chunks),
      group: options.group,
    });
    this.exceptions = new ExceptionUnit(this);
    this.segments = new SegmentUnit(this);
    this.stack = new Stack(this);
    this.farTransfer = new FarTransfer(this);
    this.debugging = new Debugging(this);
    const imports = this.#engineImports();
    this.engine = createEngine(options.memory, imports);
    if (options.jit !== undefined && (options.keepsBlocks ?? true)) this.jit = this.#createJit(imports, options.jit);
    this.flags = 2;
    this.words[STATE.SSE_UNCHECKED >> 2] = 1;
    this.mmu.selectMode();
  }

  /** What may wait for other processors may find that they have changed the code that runs. */
  #engineImports(): EngineImports {
    const helpers = createHelpers(this);
    const { code, mmu, locked } = this;
    const settled = (record: number, result: number): number => {
      if (code.isStale) code.settle(record);
      return result;
    };
    return {
      slowLoad: (record, sizeBytes) => settled(record, mmu.load(sizeBytes, false)),
      slowLoadForWrite: (record, sizeBytes) => settled(record, mmu.load(sizeBytes, true)),
      slowStore: (record, sizeBytes) => settled(record, mmu.store(sizeBytes, record) ? 0 : STOP.FAULT),
      slowLocked: (record, what) => settled(record, locked.run(record, what)),
      helper: (number, record) => settled(record, (helpers[number] as Helper)(record)),
    };
  }

  #createJit(imports: EngineImports, jitOptions: JitOptions): Jit {
    const { code, engine } = this;
    const { memory, clock } = this.options;
    const nowMs = () => clock.nowNs() / 1e6;
    const jit = new Jit({ memory, engine, imports, code, nowMs }, jitOptions);
    code.compileWith(jit);
    return jit;
  }

  /** Instructions executed so far, to within a block. */
  get instructions(): number {
    return this.#instructions;
  }

  /** RFLAGS, the arithmetic flags made real. */
  get flags(): number {
    return this.engine.flags() | (this.words[STATE.FLAGS >> 2] as number) | 2;
  }

  set flags(value: number) {
    const { words } = this;
    words[STATE.FLAGS >> 2] = value & ~0x8d5;
    this.arithmeticFlags = value;
  }

  /** Sets the six arithmetic flags and leaves the others. */
  set arithmeticFlags(value: number) {
    const { words } = this;
    words[STATE.CC_OP >> 2] = CC.EXPLICIT;
    words[STATE.CC_SRC >> 2] = value & 0x8d5;
    words[(STATE.CC_SRC >> 2) + 1] = 0;
    words[STATE.CC_DST >> 2] = value & FLAG.ZF ? 0 : 1;
    words[(STATE.CC_DST >> 2) + 1] = 0;
  }

  /** Sets RIP for the next lookup. */
  setRip(low: number, high: number): void {
    this.words[STATE.RIP >> 2] = low;
    this.words[(STATE.RIP >> 2) + 1] = high;
  }

  /** RIP = address of the instruction at a record, plus this many bytes. */
  setRipOf(record: number, plus: number): void {
    const { words } = this;
    const pageLow = words[STATE.CODE_PAGE >> 2] as number;
    const sum = (pageLow >>> 0) + this.code.place(record) + plus;
    this.setRip(sum | 0, ((words[(STATE.CODE_PAGE >> 2) + 1] as number) + Math.floor(sum / 0x100000000)) | 0);
  }

  /** RIP = the instruction after the one at a record. */
  setRipAfter(record: number): void {
    this.setRipOf(record, this.code.length(record));
  }

  /** The instruction pointer as code sees it: RIP is the linear address, which has the base of CS in it. */
  get instructionPointerLow(): number {
    const { words } = this;
    const low = words[STATE.RIP >> 2] as number;
    return this.mmu.isLegacy ? (low - this.segments.baseOf(SEGMENT.CS)) | 0 : low;
  }

  get instructionPointerHigh(): number {
    return this.mmu.isLegacy ? 0 : (this.words[(STATE.RIP >> 2) + 1] as number);
  }

  /** Goes to an instruction pointer in the code segment that is in force. */
  setInstructionPointer(low: number, high: number): void {
    if (this.mmu.codeKey === CODE_KEY.LONG) this.setRip(low, high);
    else this.setRip((low + this.segments.baseOf(SEGMENT.CS)) | 0, 0);
  }

  /**
   * Runs until the processor halts with nothing pending, `budget` instructions are over, or it shuts down. The caller looks
   * after timers between calls.
   */
  run(budget: number): CpuStop {
    const { words, jit } = this;
    words[STATE.BUDGET >> 2] = budget;
    this.#given = budget;
    try {
      for (;;) {
        if (!this.#atBreakpoint && this.#interrupt()) this.halted = false;
        if (this.#down) return this.#shutdown();
        const stop = this.#takeDebuggerStop();
        if (stop !== undefined) return stop;
        if (this.halted) return HALT;
        // After STI and MOV SS one more instruction runs before interrupts are looked at; with TF set each runs alone.
        if (this.system.shadow || ((words[STATE.FLAGS >> 2] as number) & FLAG.TF) !== 0) {
          if (!this.#step()) return this.#shutdown();
          if (this.#atBreakpoint) continue;
          if ((words[STATE.BUDGET >> 2] as number) < 0) return BUDGET_USED;
          continue;
        }
        const record = this.code.lookup();
        if (record === 0) {
          if (!this.#deliverPending()) return this.#shutdown();
          if ((words[STATE.BUDGET >> 2] as number) < 0) return BUDGET_USED;
          continue;
        }
        if (this.#poll) {
          this.#poll = false;
          this.#given -= words[STATE.BUDGET >> 2] as number;
          words[STATE.BUDGET >> 2] = 0;
        }
        if (jit?.hasWork) jit.compile();
        const code = this.#runEngine(record);
        if (code === STOP.DEBUGGER) return BREAKPOINT;
        if (code === STOP.FAULT || this.#isWildBranch(code)) {
          if (this.system.vector === DEBUGGER_VECTOR) this.setRipOf(words[STATE.RECORD >> 2] as number, 0);
          const isDown = this.system.vector === DEBUGGER_VECTOR ? !this.#stepAlone() : !this.#deliverFault();
          if (isDown) return this.#shutdown();
        } else if (code === STOP.POLL) return BUDGET_USED;
        else this.#shorten();
        if ((words[STATE.BUDGET >> 2] as number) < 0) return BUDGET_USED;
      }
    } finally {
      this.#instructions += this.#given - (words[STATE.BUDGET >> 2] as number);
    }
  }

  /**
   * Runs one instruction, without regard to breakpoints and interrupts, or wakes from HLT by an interrupt: a debugger's step. `halt` when
   * there is none.
   */
  step(): CpuStop {
    const { words } = this;
    words[STATE.BUDGET >> 2] = 1;
    this.#given = 1;
    try {
      if (this.halted) {
        if (!this.#interrupt()) return HALT;
        this.halted = false;
      } else if (!this.#stepAlone()) return this.#shutdown();
      return this.#down ? this.#shutdown() : (this.#takeDebuggerStop() ?? STEPPED);
    } finally {
      this.#instructions += this.#given - (words[STATE.BUDGET >> 2] as number);
    }
  }

  /** As `#step`, without regard to breakpoints. */
  #stepAlone(): boolean {
    this.code.ignoresBreakpoints = true;
    const goesOn = this.#step();
    this.code.ignoresBreakpoints = false;
    return goesOn;
  }

  #takeDebuggerStop(): CpuStop | undefined {
    const watchpoint = this.mmu.watchpoints?.hit;
    if (watchpoint !== undefined && this.mmu.watchpoints !== undefined) {
      this.mmu.watchpoints.hit = undefined;
      return { reason: 'watchpoint', watchpoint };
    }
    if (!this.#atBreakpoint) return undefined;
    this.#atBreakpoint = false;
    return BREAKPOINT;
  }

  /** Instructions that meet watched data are undone. */
  #runEngine(record: number): number {
    const { watchpoints } = this.mmu;
    if (watchpoints === undefined) return this.engine.run(record);
    watchpoints.putsOff = true;
    const code = this.engine.run(record);
    watchpoints.putsOff = false;
    watchpoints.hit = undefined;
    return code;
  }

  /** Branches of helpers and faults count no instructions: a loop of nothing else must still come to the end of its budget. */
  #shorten(): void {
    this.words[STATE.BUDGET >> 2] = (this.words[STATE.BUDGET >> 2] as number) - 1;
    this.#given--;
  }

  /**
   * Ends the run at the first taken branch after the record that asks for it: an interrupt may have become deliverable. The
   * helper that calls this returns a STOP code.
   */
  pollSoon(): void {
    this.#poll = true;
  }

  /** An interrupt that comes right after the instruction at a record waits for one more. */
  shadowAfter(record: number): void {
    this.setRipAfter(record);
    this.#shadowLow = this.words[STATE.RIP >> 2] as number;
    this.#hasShadow = true;
  }

  /** Whether what waits must wait for one more instruction; asked once, so that a loop of one instruction does not keep it off. */
  #inShadow(): boolean {
    if (!this.#hasShadow || this.halted || this.words[STATE.RIP >> 2] !== this.#shadowLow) return false;
    this.#hasShadow = false;
    this.system.shadow = true;
    return true;
  }

  /** Whether an external interrupt would be taken now. */
  get interruptible(): boolean {
    return ((this.words[STATE.FLAGS >> 2] as number) & FLAG.IF) !== 0 && this.options.interrupts.pending();
  }

  /**
   * Whether the engine has left through an indirect branch to an address that is not canonical. *Measured*: the branch itself
   * faults, with the stack pointer as it was; so it is undone, and the fault raised.
   */
  #isWildBranch(code: number): boolean {
    const { words, quads } = this;
    const high = (words[(STATE.RIP >> 2) + 1] as number) >> 15;
    if (high === 0 || high === -1 || (code !== STOP.LOOKUP && code !== STOP.POLL)) return false;
    const record = words[STATE.RECORD >> 2] as number;
    const operation = (words[record >> 2] as number) & 0xffff;
    const isReturn = operation === RET;
    if (!isReturn && operation !== CALL_INDIRECT && operation !== JMP_INDIRECT) return false;
    const sp = (STATE.GPR + GPR.RSP) / 8;
    // What a return drops besides the address is its immediate.
    if (isReturn) quads[sp] = (quads[sp] as bigint) - BigInt(8 + (words[(record + RECORD.IMM) >> 2] as number));
    else if (operation === CALL_INDIRECT) quads[sp] = (quads[sp] as bigint) + 8n;
    this.mmu.raise(VECTOR.GP, 0);
    return true;
  }

  #deliverPending(): boolean {
    this.#shorten();
    return this.exceptions.deliverPending();
  }

  /** Delivers the exception that the engine has stopped for; false when that ends in a shutdown. */
  #deliverFault(): boolean {
    const record = this.words[STATE.RECORD >> 2] as number;
    this.setRipOf(record, 0);
    if (this.mmu.nonCanonical && this.code.faultIsOfStack(record)) this.mmu.raise(VECTOR.SS, 0);
    return this.#deliverPending();
  }

  /** Runs one instruction, and the single-step trap after it if TF was set before (SDM vol. 3 §17.3.1.4). False: shutdown. */
  #step(): boolean {
    const { words, system } = this;
    const traps = ((words[STATE.FLAGS >> 2] as number) & FLAG.TF) !== 0;
    const { shadow } = system;
    system.shadow = false;
    const record = this.code.lookupSingle();
    if (record === 0) return this.#deliverPending();
    const mayEnterHandler = ENTERS_HANDLER.has(this.code.lastMnemonic);
    const left = words[STATE.BUDGET >> 2] as number;
    words[STATE.BUDGET >> 2] = 0;
    const code = this.engine.run(record);
    words[STATE.BUDGET >> 2] = left + (words[STATE.BUDGET >> 2] as number);
    if (code === STOP.DEBUGGER) {
      this.#atBreakpoint = true;
      system.shadow = shadow;
      return true;
    }
    if (code === STOP.FAULT || this.#isWildBranch(code)) return this.#deliverFault();
    if (!traps || (mayEnterHandler && ((words[STATE.FLAGS >> 2] as number) & FLAG.TF) === 0)) return true;
    // The trap after HLT ends it.
    this.halted = false;
    system.dr6 |= DR6_SINGLE_STEP;
    this.mmu.raise(VECTOR.DB, -1);
    return this.exceptions.deliverPending();
  }

  #shutdown(): CpuStop {
    return { reason: 'triple-fault', vector: this.exceptions.firstVector };
  }

  /** Delivers an external interrupt if one may be taken. */
  #interrupt(): boolean {
    const { system } = this;
    const { interrupts } = this.options;
    const isNmi = !system.nmiBlocked && interrupts.nmiPending();
    if ((!isNmi && !this.interruptible) || this.#inShadow()) return false;
    if (isNmi) {
      interrupts.acknowledgeNmi();
      // Until IRET (SDM vol. 3 §6.7.1).
      system.nmiBlocked = true;
      this.#down = !this.exceptions.deliverExternal(VECTOR.NMI);
      return true;
    }
    const vector = interrupts.acknowledge();
    if (vector < 0) return false;
    this.#down = !this.exceptions.deliverExternal(vector);
    return true;
  }
}

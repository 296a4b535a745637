import type { Clock } from '#util/clock.ts';
import { storeNumber } from '#util/state-words.ts';
import { COMMAND, DELIVERY } from './apic-message.ts';
import { LocalApicInbox, PENDING } from './local-apic-inbox.ts';
import {
  ACCESS,
  APIC_BASE,
  APIC_BASE_ADDRESS,
  ERROR,
  FIRST_VECTOR,
  ICR_WRITABLE,
  LVT,
  LVT_WRITABLE,
  MSR,
  REGISTER,
  SPURIOUS,
  SPURIOUS_WRITABLE,
  STATE,
  VERSION,
  X2APIC_ACCESS,
  X2APIC_WRITABLE,
} from './local-apic-registers.ts';
import { LocalApicTimer } from './local-apic-timer.ts';

/** What a local APIC asks of the rest of the machine. */
export interface LocalApicBus {
  /** Sends an interrupt command; `command` is the ICR's low half. A wide destination has 32 bits, else 8. */
  sendIpi(sender: LocalApic, destination: number, command: number): void;
  /** Tells the I/O APICs that the service of a level-triggered interrupt has ended. */
  endOfInterrupt(vector: number): void;
  /** Tells them that a local APIC which accepted nothing now does. */
  retryInterrupts(): void;
  /** The PICs' answer to the processor's interrupt acknowledge cycle. */
  acknowledgePic(): number;
}

export interface LocalApicOptions {
  /** APIC id. */
  readonly id: number;
  readonly bootProcessor: boolean;
  readonly clock: Clock;
  readonly bus: LocalApicBus;
  /** The time of the clock at which this processor's time-stamp counter reaches `ticks`. */
  readonly tscToNs: (ticks: number) => number;
  /** Called on the posting thread when a pending bit rises. It must not call into the interrupt controllers. */
  readonly onPending?: () => void;
}

/**
 * The local APIC of one processor, Intel SDM vol. 3 chapter 11. Only the thread of that processor uses it; other threads reach
 * it through `inbox`. After an access to a register the deadline may be another one.
 */
export class LocalApic {
  static readonly STATE_WORDS = STATE.WORDS;

  readonly name = 'local-apic';
  readonly id: number;
  readonly isBootProcessor: boolean;
  /** Takes messages, from any thread. */
  readonly inbox: LocalApicInbox;
  /** Halves of what `readMsr` last read, unsigned. */
  msrLow = 0;
  msrHigh = 0;

  readonly #state: Int32Array;
  readonly #clock: Clock;
  readonly #bus: LocalApicBus;
  readonly #timer: LocalApicTimer;
  readonly #onPending: (() => void) | undefined;

  constructor(state: Int32Array, options: LocalApicOptions) {
    this.id = options.id;
    this.isBootProcessor = options.bootProcessor;
    this.#state = state;
    this.#clock = options.clock;
    this.#bus = options.bus;
    this.#timer = new LocalApicTimer(state, options.tscToNs);
    this.#onPending = options.onPending;
    this.inbox = new LocalApicInbox(state, options.id, options.onPending);
    if (state[STATE.INITIALISED] === 0) this.reset();
  }

  // ---- Reset ----

  /** Power-up: xAPIC mode, all entries masked, software-disabled; §11.4.7.1. Levels of lines stay as they are. */
  reset(): void {
    const state = this.#state;
    state[STATE.INITIALISED] = 1;
    Atomics.store(
      state,
      STATE.APIC_BASE_LOW,
      APIC_BASE_ADDRESS | APIC_BASE.ENABLE | (this.isBootProcessor ? APIC_BASE.BOOT_PROCESSOR : 0),
    );
    Atomics.store(state, STATE.APIC_BASE_HIGH, 0);
    Atomics.store(state, STATE.PENDING, 0);
    state[STATE.WAITING_FOR_STARTUP] = this.isBootProcessor ? 0 : 1;
    this.#resetRegisters();
  }

  /** What INIT leaves: all registers at their reset values but the id and the base MSR; §11.4.7.3. */
  #resetRegisters(): void {
    const state = this.#state;
    for (let word = 0; word < STATE.INITIALISED; word++) Atomics.store(state, word, 0);
    this.#store(REGISTER.DESTINATION_FORMAT, -1);
    this.#store(REGISTER.SPURIOUS_VECTOR, 0xff);
    this.#maskLocalVectors();
    Atomics.store(state, STATE.ERRORS, 0);
    Atomics.store(state, STATE.EXT_INT_LATCHED, 0);
    storeNumber(state, STATE.TIMER_DEADLINE_NS, Infinity);
    state[STATE.TSC_DEADLINE_LOW] = 0;
    state[STATE.TSC_DEADLINE_HIGH] = 0;
    if (this.inbox.isX2apic()) this.#store(REGISTER.LOGICAL_DESTINATION, this.#x2apicLogicalId());
    this.#evaluate();
  }

  #maskLocalVectors(): void {
    for (let register: number = REGISTER.LVT_TIMER; register <= REGISTER.LVT_ERROR; register += 0x10) {
      this.#store(register, this.#load(register) | LVT.MASKED);
    }
  }

  // ---- What the processor's loop asks ----

  /** True when something may be waiting for the processor. One load. */
  hasPending(): boolean {
    return Atomics.load(this.#state, STATE.PENDING) !== 0;
  }

  /** PENDING bits. INTERRUPT may be stale: `acknowledge` then gives -1 and clears it. */
  pending(): number {
    return Atomics.load(this.#state, STATE.PENDING);
  }

  /**
   * Sleeps until a bit of `mask` is pending or the time is over; true when one is. A halted processor with interrupts disabled
   * leaves INTERRUPT out. The state must be in shared memory.
   */
  waitPending(mask: number, timeoutMs: number): boolean {
    const pending = Atomics.load(this.#state, STATE.PENDING);
    if ((pending & mask) !== 0) return true;
    Atomics.wait(this.#state, STATE.PENDING, pending, timeoutMs);
    return (Atomics.load(this.#state, STATE.PENDING) & mask) !== 0;
  }

  /** The vector of the interrupt that the processor now takes, which goes into service; -1 when there is none after all. */
  acknowledge(): number {
    let vector: number;
    if (this.#hasExtInt()) {
      Atomics.store(this.#state, STATE.EXT_INT_LATCHED, 0);
      vector = this.#bus.acknowledgePic();
    } else {
      vector = this.#deliverableVector();
      if (vector >= 0) {
        Atomics.and(this.#state, (REGISTER.IRR >>> 4) + (vector >>> 5), ~(1 << (vector & 31)));
        const word = (REGISTER.ISR >>> 4) + (vector >>> 5);
        this.#state[word] = this.#state[word]! | (1 << (vector & 31));
      }
    }
    this.#evaluate();
    return vector;
  }

  /** True, once, when an NMI is pending. */
  takeNmi(): boolean {
    return this.inbox.take(PENDING.NMI);
  }

  /** True, once, when an INIT is pending; the local APIC is then reset and waits for a start-up message. */
  takeInit(): boolean {
    if (!this.inbox.take(PENDING.INIT)) return false;
    this.#resetRegisters();
    this.#state[STATE.WAITING_FOR_STARTUP] = this.isBootProcessor ? 0 : 1;
    return true;
  }

  /** The page (address / 4096) at which an application processor starts, or -1; those that are started ignore the message. */
  takeStartup(): number {
    if (!this.inbox.take(PENDING.STARTUP) || this.#state[STATE.WAITING_FOR_STARTUP] === 0) return -1;
    this.#state[STATE.WAITING_FOR_STARTUP] = 0;
    return Atomics.load(this.#state, STATE.STARTUP_VECTOR);
  }

  isWaitingForStartup(): boolean {
    return this.#state[STATE.WAITING_FOR_STARTUP] !== 0;
  }

  /** CR8: bits 7..4 of the task priority. */
  readCr8(): number {
    return this.#load(REGISTER.TASK_PRIORITY) >>> 4;
  }

  /** `value` is 0 to 15. */
  writeCr8(value: number): void {
    this.#writeTaskPriority((value & 0xf) << 4);
  }

  nextDeadlineNs(): number {
    return this.#timer.nextDeadlineNs();
  }

  advance(nowNs: number): void {
    if (this.#timer.advance(nowNs)) this.inbox.postLocal(this.#load(REGISTER.LVT_TIMER) & ~LVT.DELIVERY_MODE);
  }

  /** To be called after the processor's time-stamp counter was written. */
  tscChanged(): void {
    this.#timer.tscChanged();
    this.advance(this.#clock.nowNs());
  }

  /** Guest-physical address of the register page; -1 when there is none: disabled or in x2APIC mode. */
  pageAddress(): number {
    const low = Atomics.load(this.#state, STATE.APIC_BASE_LOW);
    if ((low & (APIC_BASE.ENABLE | APIC_BASE.X2APIC)) !== APIC_BASE.ENABLE) return -1;
    return Atomics.load(this.#state, STATE.APIC_BASE_HIGH) * 2 ** 32 + ((low & APIC_BASE.ADDRESS_LOW) >>> 0);
  }

  // ---- Registers ----

  /** Reads in the page: registers have 32 bits at multiples of 16, the bytes between are 0. */
  read(offset: number, data: Uint8Array): void {
    const value = this.readRegister(offset & ~0xf);
    for (let i = 0; i < data.length; i++) {
      const byte = (offset & 0xf) + i;
      data[i] = byte < 4 ? value >>> (8 * byte) : 0;
    }
  }

  /** Writes in the page: only those of at least 4 bytes to the start of a register count (§11.4.1). */
  write(offset: number, data: Uint8Array): void {
    if ((offset & 0xf) !== 0 || data.length < 4) return;
    this.writeRegister(offset, data[0]! | (data[1]! << 8) | (data[2]! << 16) | (data[3]! << 24));
  }

  /** The register at `offset`, a multiple of 16 below 4096, as an unsigned number. */
  readRegister(offset: number): number {
    switch (offset) {
      case REGISTER.ID:
        return this.inbox.isX2apic() ? this.id >>> 0 : (this.id << 24) >>> 0;
      case REGISTER.VERSION:
        return VERSION;
      case REGISTER.PROCESSOR_PRIORITY:
        return this.#processorPriority();
      case REGISTER.CURRENT_COUNT:
        this.advance(this.#clock.nowNs());
        return this.#timer.currentCount(this.#clock.nowNs());
      case REGISTER.EOI:
      case REGISTER.ARBITRATION_PRIORITY:
      case REGISTER.REMOTE_READ:
        return 0;
      default:
        if (isStored(offset)) return this.#load(offset) >>> 0;
        this.inbox.raiseError(ERROR.ILLEGAL_REGISTER);
        return 0;
    }
  }

  /** Writes the register at `offset`, a multiple of 16 below 4096. Read-only ones stay as they are. */
  writeRegister(offset: number, value: number): void {
    switch (offset) {
      case REGISTER.TASK_PRIORITY:
        this.#writeTaskPriority(value & 0xff);
        break;
      case REGISTER.EOI:
        this.#endOfInterrupt();
        break;
      case REGISTER.LOGICAL_DESTINATION:
        this.#store(offset, value & ~0xff_ffff);
        break;
      case REGISTER.DESTINATION_FORMAT:
        this.#store(offset, value | 0xfff_ffff);
        break;
      case REGISTER.SPURIOUS_VECTOR:
        this.#writeSpuriousVector(value & SPURIOUS_WRITABLE);
        break;
      case REGISTER.ERROR_STATUS:
        this.#store(offset, Atomics.exchange(this.#state, STATE.ERRORS, 0));
        break;
      case REGISTER.ICR_HIGH:
        this.#store(offset, value & (0xff << 24));
        break;
      case REGISTER.ICR_LOW:
        this.#sendCommand(value, this.#load(REGISTER.ICR_HIGH) >>> 24);
        break;
      case REGISTER.INITIAL_COUNT:
      case REGISTER.DIVIDE_CONFIGURATION:
        this.#writeTimer(offset, value);
        break;
      default:
        if (offset >= REGISTER.LVT_TIMER && offset <= REGISTER.LVT_ERROR) this.#writeLocalVector(offset, value);
        else if (X2APIC_ACCESS[offset >>> 4] === 0 || offset === REGISTER.SELF_IPI) {
          this.inbox.raiseError(ERROR.ILLEGAL_REGISTER);
        }
    }
  }

  /** Reads IA32_APIC_BASE, IA32_TSC_DEADLINE or an x2APIC register into msrLow and msrHigh; false when #GP is due. */
  readMsr(index: number): boolean {
    this.msrHigh = 0;
    if (index === MSR.APIC_BASE) {
      this.msrLow = this.#state[STATE.APIC_BASE_LOW]! >>> 0;
      this.msrHigh = this.#state[STATE.APIC_BASE_HIGH]! >>> 0;
      return true;
    }
    if (index === MSR.TSC_DEADLINE) {
      this.advance(this.#clock.nowNs());
      this.msrLow = this.#state[STATE.TSC_DEADLINE_LOW]! >>> 0;
      this.msrHigh = this.#state[STATE.TSC_DEADLINE_HIGH]! >>> 0;
      return true;
    }
    if (!this.#isX2apicRegister(index, ACCESS.READ)) return false;
    const offset = (index - MSR.X2APIC) << 4;
    this.msrLow = this.readRegister(offset);
    if (offset === REGISTER.ICR_LOW) this.msrHigh = this.#load(REGISTER.ICR_HIGH) >>> 0;
    return true;
  }

  /** Writes one of those registers; the halves are signed or unsigned. False when #GP is due. */
  writeMsr(index: number, low: number, high: number): boolean {
    if (index === MSR.APIC_BASE) return this.#writeApicBase(low, high);
    if (index === MSR.TSC_DEADLINE) {
      this.#timer.writeTscDeadline(low, high);
      this.advance(this.#clock.nowNs());
      return true;
    }
    if (!this.#isX2apicRegister(index, ACCESS.WRITE)) return false;
    const register = index - MSR.X2APIC;
    const offset = register << 4;
    if ((low & ~X2APIC_WRITABLE[register]!) !== 0) return false;
    if (offset === REGISTER.ICR_LOW) {
      this.#store(REGISTER.ICR_HIGH, high);
      this.#sendCommand(low, high >>> 0);
      return true;
    }
    if (high !== 0) return false;
    if (offset === REGISTER.SELF_IPI) this.inbox.post(low, false);
    else this.writeRegister(offset, low);
    return true;
  }

  #load(register: number): number {
    return Atomics.load(this.#state, register >>> 4);
  }

  #store(register: number, value: number): void {
    Atomics.store(this.#state, register >>> 4, value);
  }

  #isX2apicRegister(index: number, access: number): boolean {
    if (index < MSR.X2APIC || index >= MSR.X2APIC_END || !this.inbox.isX2apic()) return false;
    return (X2APIC_ACCESS[index - MSR.X2APIC]! & access) !== 0;
  }

  /** §11.12.2.4.2: 16 processors a cluster. */
  #x2apicLogicalId(): number {
    return ((this.id >>> 4) << 16) | (1 << (this.id & 0xf));
  }

  /** §11.12.5 gives the changes of mode that are allowed. */
  #writeApicBase(low: number, high: number): boolean {
    if ((low & APIC_BASE.RESERVED_LOW) !== 0 || (high & APIC_BASE.RESERVED_HIGH) !== 0) return false;
    const before = this.#state[STATE.APIC_BASE_LOW]!;
    const wasX2apic = (before & APIC_BASE.X2APIC) !== 0;
    const enable = (low & APIC_BASE.ENABLE) !== 0;
    const x2apic = (low & APIC_BASE.X2APIC) !== 0;
    if (x2apic && (!enable || (before & APIC_BASE.ENABLE) === 0)) return false;
    if (wasX2apic && enable && !x2apic) return false;
    const boot = before & APIC_BASE.BOOT_PROCESSOR;
    Atomics.store(this.#state, STATE.APIC_BASE_HIGH, high);
    Atomics.store(this.#state, STATE.APIC_BASE_LOW, (low & ~APIC_BASE.BOOT_PROCESSOR) | boot);
    if (!enable && (before & APIC_BASE.ENABLE) !== 0) this.#resetRegisters();
    if (x2apic && !wasX2apic) {
      this.#store(REGISTER.LOGICAL_DESTINATION, this.#x2apicLogicalId());
      this.#store(REGISTER.ICR_HIGH, 0);
    }
    this.#evaluate();
    return true;
  }

  #writeTaskPriority(value: number): void {
    this.#store(REGISTER.TASK_PRIORITY, value);
    this.#evaluate();
  }

  #writeSpuriousVector(value: number): void {
    const wasEnabled = this.inbox.isSoftwareEnabled();
    this.#store(REGISTER.SPURIOUS_VECTOR, value);
    if ((value & SPURIOUS.SOFTWARE_ENABLE) === 0) this.#maskLocalVectors();
    else if (!wasEnabled) this.#bus.retryInterrupts();
    this.#evaluate();
  }

  #writeTimer(register: number, value: number): void {
    const nowNs = this.#clock.nowNs();
    this.advance(nowNs);
    if (register === REGISTER.INITIAL_COUNT) this.#timer.writeInitialCount(value, nowNs);
    else this.#timer.writeDivideConfiguration(value, nowNs);
  }

  #writeLocalVector(register: number, value: number): void {
    let entry = value & (LVT_WRITABLE[(register - REGISTER.LVT_TIMER) >>> 4] ?? 0);
    if (!this.inbox.isSoftwareEnabled()) entry |= LVT.MASKED;
    if (register === REGISTER.LVT_TIMER) {
      // What expired under the old entry is that entry's interrupt.
      this.advance(this.#clock.nowNs());
      this.#timer.writeLvt(entry);
      return;
    }
    this.#store(register, entry);
    if (register === REGISTER.LVT_LINT0) this.inbox.repeatLevelLint(0);
    if (register === REGISTER.LVT_LINT1) this.inbox.repeatLevelLint(1);
    this.#evaluate();
  }

  #sendCommand(low: number, destination: number): void {
    const command = low & ICR_WRITABLE;
    this.#store(REGISTER.ICR_LOW, command);
    const mode = command & COMMAND.DELIVERY_MODE;
    const hasVector = mode === DELIVERY.FIXED || mode === DELIVERY.LOWEST_PRIORITY;
    if (hasVector && (command & COMMAND.VECTOR) < FIRST_VECTOR) {
      this.inbox.raiseError(ERROR.SEND_ILLEGAL_VECTOR);
      return;
    }
    // INIT level de-assert only synchronised the arbitration of ancient processors.
    if (mode === DELIVERY.INIT && (command & (COMMAND.LEVEL | COMMAND.ASSERT)) === COMMAND.LEVEL) return;
    this.#bus.sendIpi(this, destination, command);
  }

  // ---- Priorities ----

  /** The highest vector whose bit is set in the eight registers from `register`, or -1. */
  #highest(register: number): number {
    const first = register >>> 4;
    for (let word = 7; word >= 0; word--) {
      const bits = Atomics.load(this.#state, first + word);
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }

  /** §11.8.3.1. */
  #processorPriority(): number {
    const task = this.#load(REGISTER.TASK_PRIORITY);
    const serviced = this.#highest(REGISTER.ISR);
    return serviced >= 0 && serviced >>> 4 > task >>> 4 ? serviced & 0xf0 : task;
  }

  #deliverableVector(): number {
    const vector = this.#highest(REGISTER.IRR);
    return vector >= 0 && vector >>> 4 > this.#processorPriority() >>> 4 ? vector : -1;
  }

  /** The PICs ask through LINT0 or by a message. Without a local APIC, LINT0 is the processor's INTR. */
  #hasExtInt(): boolean {
    if (Atomics.load(this.#state, STATE.EXT_INT_LATCHED) !== 0) return true;
    if ((Atomics.load(this.#state, STATE.LINT_LEVELS) & 1) === 0) return false;
    if (!this.inbox.isEnabled()) return true;
    return (this.#load(REGISTER.LVT_LINT0) & (LVT.MASKED | LVT.DELIVERY_MODE)) === DELIVERY.EXT_INT;
  }

  /** Brings PENDING.INTERRUPT up to date. */
  #evaluate(): void {
    const before = Atomics.and(this.#state, STATE.PENDING, ~PENDING.INTERRUPT);
    if (!this.#hasExtInt() && this.#deliverableVector() < 0) return;
    Atomics.or(this.#state, STATE.PENDING, PENDING.INTERRUPT);
    if ((before & PENDING.INTERRUPT) === 0) this.#onPending?.();
  }

  #endOfInterrupt(): void {
    const vector = this.#highest(REGISTER.ISR);
    if (vector < 0) return;
    const bit = 1 << (vector & 31);
    const word = (REGISTER.ISR >>> 4) + (vector >>> 5);
    this.#state[word] = this.#state[word]! & ~bit;
    const levelTriggered = (Atomics.load(this.#state, (REGISTER.TMR >>> 4) + (vector >>> 5)) & bit) !== 0;
    const suppressed = (this.#load(REGISTER.SPURIOUS_VECTOR) & SPURIOUS.SUPPRESS_EOI_BROADCAST) !== 0;
    if (levelTriggered && !suppressed) this.#bus.endOfInterrupt(vector);
    this.inbox.repeatLevelLint(0);
    this.inbox.repeatLevelLint(1);
    this.#evaluate();
  }
}

/** Registers whose value is simply stored. */
function isStored(offset: number): boolean {
  if (offset === REGISTER.SELF_IPI) return false;
  return X2APIC_ACCESS[offset >>> 4] !== 0 || offset === REGISTER.DESTINATION_FORMAT || offset === REGISTER.ICR_HIGH;
}

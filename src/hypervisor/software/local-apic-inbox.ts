import { BROADCAST, DELIVERY } from './apic-message.ts';
import { APIC_BASE, ERROR, FIRST_VECTOR, LVT, REGISTER, SPURIOUS, STATE } from './local-apic-registers.ts';

/** What may wait for the processor: bits of the pending word. */
export const PENDING = {
  /** `LocalApic.acknowledge` may give a vector. */
  INTERRUPT: 1 << 0,
  NMI: 1 << 1,
  INIT: 1 << 2,
  STARTUP: 1 << 3,
  /** Nothing architectural: the processor's loop is to return to its caller. */
  KICK: 1 << 4,
} as const;

/**
 * The half of a local APIC that any thread may use: it takes messages and the levels of the local pins. Bits are posted
 * first to IRR and then to the pending word, which the owner clears before it looks at IRR: nothing posted is missed.
 */
export class LocalApicInbox {
  readonly id: number;
  readonly #state: Int32Array;
  readonly #onPending: (() => void) | undefined;

  /** `onPending` is called on the posting thread when a pending bit rises. */
  constructor(state: Int32Array, id: number, onPending: (() => void) | undefined) {
    this.id = id;
    this.#state = state;
    this.#onPending = onPending;
  }

  /** A fixed interrupt. Not accepted, which is false, while the local APIC is disabled or when the vector is illegal. */
  post(vector: number, levelTriggered: boolean): boolean {
    if (!this.isSoftwareEnabled()) return false;
    if (vector < FIRST_VECTOR) {
      this.raiseError(ERROR.RECEIVE_ILLEGAL_VECTOR);
      return false;
    }
    const bit = 1 << (vector & 31);
    const word = vector >>> 5;
    if (levelTriggered) Atomics.or(this.#state, (REGISTER.TMR >>> 4) + word, bit);
    else Atomics.and(this.#state, (REGISTER.TMR >>> 4) + word, ~bit);
    Atomics.or(this.#state, (REGISTER.IRR >>> 4) + word, bit);
    this.signal(PENDING.INTERRUPT);
    return true;
  }

  postNmi(): void {
    this.signal(PENDING.NMI);
  }

  /** INIT; a start-up message that came before is void. */
  postInit(): void {
    Atomics.and(this.#state, STATE.PENDING, ~PENDING.STARTUP);
    this.signal(PENDING.INIT);
  }

  /** Start-up at `page` (address / 4096). */
  postStartup(page: number): void {
    Atomics.store(this.#state, STATE.STARTUP_VECTOR, page);
    this.signal(PENDING.STARTUP);
  }

  /** Makes the processor's loop return to its caller. */
  kick(): void {
    this.signal(PENDING.KICK);
  }

  /** An ExtINT message: the PICs are asked for the vector. */
  postExtInt(): void {
    Atomics.store(this.#state, STATE.EXT_INT_LATCHED, 1);
    this.signal(PENDING.INTERRUPT);
  }

  /** Drives the local interrupt pin 0 or 1. */
  setLint(pin: 0 | 1, asserted: boolean): void {
    const bit = 1 << pin;
    const before = asserted
      ? Atomics.or(this.#state, STATE.LINT_LEVELS, bit)
      : Atomics.and(this.#state, STATE.LINT_LEVELS, ~bit);
    if (!asserted || (before & bit) !== 0) return;
    // Without a local APIC, LINT0 is the processor's INTR and LINT1 its NMI.
    if (this.isEnabled()) this.postLocal(this.#load(lintRegister(pin)));
    else this.signal(pin === 0 ? PENDING.INTERRUPT : PENDING.NMI);
  }

  /** The interrupt of a local vector table entry. */
  postLocal(entry: number): void {
    if ((entry & LVT.MASKED) !== 0) return;
    switch (entry & LVT.DELIVERY_MODE) {
      case DELIVERY.FIXED:
        this.post(entry & LVT.VECTOR, false);
        break;
      case DELIVERY.NMI:
        this.postNmi();
        break;
      case DELIVERY.INIT:
        this.postInit();
        break;
      case DELIVERY.EXT_INT:
        this.signal(PENDING.INTERRUPT);
        break;
      default:
        break;
    }
  }

  /** A level-triggered fixed interrupt comes again as long as its pin is asserted. */
  repeatLevelLint(pin: 0 | 1): void {
    const entry = this.#load(lintRegister(pin));
    if ((entry & (LVT.MASKED | LVT.LEVEL | LVT.DELIVERY_MODE)) !== LVT.LEVEL) return;
    if ((Atomics.load(this.#state, STATE.LINT_LEVELS) & (1 << pin)) !== 0) this.postLocal(entry);
  }

  raiseError(error: number): void {
    if ((Atomics.or(this.#state, STATE.ERRORS, error) & error) === 0) this.postLocal(this.#load(REGISTER.LVT_ERROR));
  }

  /** Sets a PENDING bit; wakes and kicks the processor when it rises. */
  signal(bit: number): void {
    if ((Atomics.or(this.#state, STATE.PENDING, bit) & bit) !== 0) return;
    Atomics.notify(this.#state, STATE.PENDING);
    this.#onPending?.();
  }

  /** Clears a PENDING bit; tells whether it was set. For the owner. */
  take(bit: number): boolean {
    return (Atomics.and(this.#state, STATE.PENDING, ~bit) & bit) !== 0;
  }

  /** Whether a message is for this local APIC. A destination is wide, of 32 bits, when an x2APIC sent it. */
  accepts(destination: number, logical: boolean, wide: boolean): boolean {
    if (!this.isEnabled()) return false;
    if (destination === (wide ? BROADCAST.X2APIC : BROADCAST.XAPIC)) return true;
    if (!logical) return destination === this.id;
    const logicalId = this.#load(REGISTER.LOGICAL_DESTINATION) >>> 0;
    if (this.isX2apic()) {
      return destination >>> 16 === logicalId >>> 16 && (destination & logicalId & 0xffff) !== 0;
    }
    const id = logicalId >>> 24;
    const flat = this.#load(REGISTER.DESTINATION_FORMAT) >>> 28 === 0xf;
    if (flat) return (destination & id & 0xff) !== 0;
    return destination >>> 4 === id >>> 4 && (destination & id & 0xf) !== 0;
  }

  /** Enabled by IA32_APIC_BASE. */
  isEnabled(): boolean {
    return (Atomics.load(this.#state, STATE.APIC_BASE_LOW) & APIC_BASE.ENABLE) !== 0;
  }

  /** Enabled by the spurious-interrupt vector register too: takes fixed interrupts. */
  isSoftwareEnabled(): boolean {
    return this.isEnabled() && (this.#load(REGISTER.SPURIOUS_VECTOR) & SPURIOUS.SOFTWARE_ENABLE) !== 0;
  }

  isX2apic(): boolean {
    return (Atomics.load(this.#state, STATE.APIC_BASE_LOW) & APIC_BASE.X2APIC) !== 0;
  }

  /** What lowest-priority delivery compares. */
  taskPriority(): number {
    return this.#load(REGISTER.TASK_PRIORITY);
  }

  #load(register: number): number {
    return Atomics.load(this.#state, register >>> 4);
  }
}

function lintRegister(pin: 0 | 1): number {
  return pin === 0 ? REGISTER.LVT_LINT0 : REGISTER.LVT_LINT1;
}

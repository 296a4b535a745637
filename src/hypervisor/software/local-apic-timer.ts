import { loadNumber, storeNumber } from '#util/state-words.ts';
import { DIVIDE_WRITABLE, LVT, REGISTER, STATE, TIMER_MODE } from './local-apic-registers.ts';

/** The count goes down once in a nanosecond, before division. */
export const APIC_TIMER_FREQUENCY_HZ = 1e9;

/** A shorter period would leave the processor no time for anything else; KVM's `min_timer_period_us` is the same. */
const SHORTEST_PERIOD_NS = 200_000;

const LVT_WORD = REGISTER.LVT_TIMER >>> 4;
const INITIAL_COUNT_WORD = REGISTER.INITIAL_COUNT >>> 4;
const DIVIDE_WORD = REGISTER.DIVIDE_CONFIGURATION >>> 4;

/** The timer of one local APIC, SDM vol. 3 §11.5.4, over the local APIC's state. Used by the thread of its processor only. */
export class LocalApicTimer {
  readonly #state: Int32Array;
  readonly #tscToNs: (ticks: number) => number;

  /** `tscToNs` gives the time of the clock at which the processor's time-stamp counter reaches `ticks`. */
  constructor(state: Int32Array, tscToNs: (ticks: number) => number) {
    this.#state = state;
    this.#tscToNs = tscToNs;
  }

  /** When the next interrupt is due; Infinity when none is, or it is masked. */
  nextDeadlineNs(): number {
    if ((this.#state[LVT_WORD]! & LVT.MASKED) !== 0) return Infinity;
    return loadNumber(this.#state, STATE.TIMER_DEADLINE_NS);
  }

  /** Moves the timer to `nowNs`; true when it expired at least once since the last call. */
  advance(nowNs: number): boolean {
    const deadlineNs = loadNumber(this.#state, STATE.TIMER_DEADLINE_NS);
    if (nowNs < deadlineNs) return false;
    if (this.#mode() === TIMER_MODE.PERIODIC) {
      const periodNs = this.#durationNs(this.#initialCount());
      const periods = Math.floor((nowNs - deadlineNs) / periodNs) + 1;
      storeNumber(this.#state, STATE.TIMER_DEADLINE_NS, deadlineNs + periods * periodNs);
    } else {
      this.#disarm();
    }
    return true;
  }

  /** A change of mode to or from TSC deadline disarms. To be called after `advance`. */
  writeLvt(value: number): void {
    const before = this.#mode();
    this.#state[LVT_WORD] = value;
    const after = this.#mode();
    if (before !== after && (before === TIMER_MODE.TSC_DEADLINE || after === TIMER_MODE.TSC_DEADLINE)) {
      this.#state[INITIAL_COUNT_WORD] = 0;
      this.#disarm();
    }
  }

  /** Starts the count; 0 stops it. Ignored in TSC-deadline mode. */
  writeInitialCount(count: number, nowNs: number): void {
    if (this.#mode() === TIMER_MODE.TSC_DEADLINE) return;
    this.#state[INITIAL_COUNT_WORD] = count;
    this.#startCount(count >>> 0, nowNs);
  }

  currentCount(nowNs: number): number {
    const deadlineNs = loadNumber(this.#state, STATE.TIMER_DEADLINE_NS);
    if (deadlineNs === Infinity || this.#mode() === TIMER_MODE.TSC_DEADLINE) return 0;
    // While a period is stretched the count stands at its top.
    return Math.min(this.#initialCount(), Math.max(0, Math.ceil((deadlineNs - nowNs) / this.#divisor())));
  }

  /** The count goes on from where it is, at the new speed. To be called after `advance`. */
  writeDivideConfiguration(value: number, nowNs: number): void {
    const count = this.currentCount(nowNs);
    this.#state[DIVIDE_WORD] = value & DIVIDE_WRITABLE;
    if (count > 0) this.#startCount(count, nowNs);
  }

  /** IA32_TSC_DEADLINE; has an effect in TSC-deadline mode only. 0 disarms. */
  writeTscDeadline(low: number, high: number): void {
    if (this.#mode() !== TIMER_MODE.TSC_DEADLINE) return;
    this.#state[STATE.TSC_DEADLINE_LOW] = low;
    this.#state[STATE.TSC_DEADLINE_HIGH] = high;
    this.tscChanged();
  }

  /** To be called when the processor's time-stamp counter was set: finds the deadline's time anew. */
  tscChanged(): void {
    if (this.#mode() !== TIMER_MODE.TSC_DEADLINE) return;
    const low = this.#state[STATE.TSC_DEADLINE_LOW]! >>> 0;
    const ticks = (this.#state[STATE.TSC_DEADLINE_HIGH]! >>> 0) * 2 ** 32 + low;
    if (ticks === 0) {
      this.#disarm();
      return;
    }
    const deadlineNs = Math.ceil(this.#tscToNs(ticks));
    // The last ticks of the counter lie centuries ahead, beyond what a double counts exactly.
    storeNumber(
      this.#state,
      STATE.TIMER_DEADLINE_NS,
      deadlineNs <= Number.MAX_SAFE_INTEGER ? Math.max(0, deadlineNs) : Infinity,
    );
  }

  #mode(): number {
    return this.#state[LVT_WORD]! & LVT.TIMER_MODE;
  }

  /** §11.5.4, figure 11-10: bits 3, 1 and 0 give 2, 4 … 128, and 1. */
  #divisor(): number {
    const value = this.#state[DIVIDE_WORD]!;
    const code = (value & 3) | ((value & 8) >>> 1);
    return code === 7 ? 1 : 2 << code;
  }

  #initialCount(): number {
    return this.#state[INITIAL_COUNT_WORD]! >>> 0;
  }

  /** How long the timer takes for `count`. */
  #durationNs(count: number): number {
    const ns = (count * this.#divisor() * 1e9) / APIC_TIMER_FREQUENCY_HZ;
    return this.#mode() === TIMER_MODE.PERIODIC ? Math.max(ns, SHORTEST_PERIOD_NS) : ns;
  }

  #startCount(count: number, nowNs: number): void {
    if (count === 0) this.#disarm();
    else storeNumber(this.#state, STATE.TIMER_DEADLINE_NS, nowNs + this.#durationNs(count));
  }

  #disarm(): void {
    storeNumber(this.#state, STATE.TIMER_DEADLINE_NS, Infinity);
    this.#state[STATE.TSC_DEADLINE_LOW] = 0;
    this.#state[STATE.TSC_DEADLINE_HIGH] = 0;
  }
}

import type { Clock } from '#util/clock.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import { loadNumber, storeNumber } from '#util/state-words.ts';
import { nsOfTicks, ticksOfNs } from '#util/ticks.ts';
import type { InterruptLine } from '../irq-chip.ts';
import { bytePorts } from './byte-ports.ts';

/**
 * 8254 programmable interval timer after the Intel data sheet (231164, 1993), and the bits of port 0x61 that belong to it
 * (Intel 82371AB §4.2.4). Counts follow from the clock when somebody looks. Simpler than the chip: a count is loaded at its
 * write, not one tick later, and a new count in mode 3 takes over at the end of the period, not of the half.
 */

export const PIT_FREQUENCY_HZ = 1_193_182;

const CHANNEL_COUNT = 3;
/** The one whose output is interrupt 0, and the one whose gate and output port 0x61 has. */
const TIMER_CHANNEL = 0;
const SPEAKER_CHANNEL = 2;
const CONTROL_OFFSET = 3;

/** Control word, "Control Word Format". */
const CONTROL = { CHANNEL_SHIFT: 6, READ_BACK: 3, ACCESS_SHIFT: 4, MODE_SHIFT: 1, BCD: 1 } as const;
const ACCESS = { LATCH: 0, LOW: 1, HIGH: 2, LOW_HIGH: 3 } as const;
/** Read-back command: the latch bits are active low. */
const READ_BACK = { NO_COUNT: 1 << 5, NO_STATUS: 1 << 4, CHANNEL_0: 1 << 1 } as const;
const STATUS = { OUTPUT: 1 << 7, NULL_COUNT: 1 << 6 } as const;

const MODE = {
  INTERRUPT_ON_TERMINAL_COUNT: 0,
  ONE_SHOT: 1,
  RATE_GENERATOR: 2,
  SQUARE_WAVE: 3,
  SOFTWARE_STROBE: 4,
  HARDWARE_STROBE: 5,
} as const;

/** NMI status and control register, port 0x61. */
const SYSTEM_CONTROL = { GATE: 0x01, SPEAKER: 0x02, WRITABLE: 0x0f, REFRESH: 0x10, OUTPUT: 0x20 } as const;
/** The refresh bit changes with every refresh of the memory. */
const REFRESH_NS = 15_085;

/** So many periods may be made up for when the loop was late; what lies further back is dropped. */
const CATCH_UP_PERIODS_MAX = 8;
/** Interrupts come no closer than this, whatever the guest programs. */
const INTERRUPT_SPACING_NS = 20_000;

/** Words of one channel. */
const CHANNEL = {
  MODE: 0,
  BCD: 1,
  ACCESS: 2,
  /** Ticks from load to zero, 1 to 65536; 0 before the first. */
  COUNT: 3,
  /** The count that takes over at SWITCH_NS, or at the next trigger; 0 for none. */
  NEXT_COUNT: 4,
  SWITCH_NS: 5,
  /** When the count began; Infinity before a trigger. */
  START_NS: 7,
  /** Ticks that had passed when the gate fell. */
  FROZEN_TICKS: 9,
  GATE: 11,
  WRITE_LOW: 12,
  WRITE_HIGH_NEXT: 13,
  READ_HIGH_NEXT: 14,
  LATCHED: 15,
  LATCHED_COUNT: 16,
  STATUS_LATCHED: 17,
  LATCHED_STATUS: 18,
  WORDS: 19,
} as const;

const STATE = {
  INITIALISED: 0,
  SYSTEM_CONTROL: 1,
  /** Number of the timer channel's next rising edge, in periods from START_NS; Infinity when none is to come. */
  EDGE: 2,
  LAST_INTERRUPT_NS: 4,
  CHANNELS: 6,
  WORDS: 6 + CHANNEL_COUNT * CHANNEL.WORDS,
} as const;

/** Not locked: the caller serialises accesses. After an access the deadline may be another one. */
export class Pit implements DeadlineSource {
  static readonly STATE_WORDS = STATE.WORDS;

  /** Ports 0x40 to 0x43. */
  readonly counters = bytePorts('pit', {
    read: (port) => (port < CHANNEL_COUNT ? this.#readCounter(port, this.#clock.nowNs()) : 0xff),
    write: (port, value) => {
      if (port === CONTROL_OFFSET) this.#writeControl(value);
      else if (port < CHANNEL_COUNT) this.#writeCounter(port, value);
    },
  });
  /** Port 0x61. */
  readonly systemControl = bytePorts('system-control', {
    read: (port) => (port === 0 ? this.#readSystemControl(this.#clock.nowNs()) : 0xff),
    write: (port, value) => {
      if (port === 0) this.#writeSystemControl(value);
    },
  });

  readonly #state: Int32Array;
  readonly #clock: Clock;
  readonly #interrupt: InterruptLine;

  constructor(state: Int32Array, clock: Clock, interrupt: InterruptLine) {
    this.#state = state;
    this.#clock = clock;
    this.#interrupt = interrupt;
    if (state[STATE.INITIALISED] === 0) this.reset();
  }

  /** Nothing counts; the gates of channels 0 and 1 are wired high. */
  reset(): void {
    const state = this.#state;
    state.fill(0, 0, STATE.WORDS);
    state[STATE.INITIALISED] = 1;
    storeNumber(state, STATE.EDGE, Infinity);
    for (let channel = 0; channel < CHANNEL_COUNT; channel++) {
      this.#set(channel, CHANNEL.ACCESS, ACCESS.LOW_HIGH);
      this.#set(channel, CHANNEL.GATE, channel === SPEAKER_CHANNEL ? 0 : 1);
      this.#setNumber(channel, CHANNEL.START_NS, Infinity);
    }
    this.#interrupt.set(false);
  }

  /** The next rising edge of channel 0's output. */
  nextDeadlineNs(): number {
    const edgeNs = this.#edgeNs(loadNumber(this.#state, STATE.EDGE));
    if (edgeNs === Infinity) return Infinity;
    const periodNs = nsOfTicks(this.#get(TIMER_CHANNEL, CHANNEL.COUNT), PIT_FREQUENCY_HZ);
    const spacingNs = Math.max(INTERRUPT_SPACING_NS, Math.floor(periodNs / 2));
    return Math.max(edgeNs, loadNumber(this.#state, STATE.LAST_INTERRUPT_NS) + spacingNs);
  }

  /** Raises one interrupt if one is due. Late ones follow one by one, at least half a period apart. */
  advance(nowNs: number): void {
    this.#settle(TIMER_CHANNEL, nowNs);
    if (nowNs < this.nextDeadlineNs()) return;
    const state = this.#state;
    storeNumber(state, STATE.LAST_INTERRUPT_NS, nowNs);
    const edge = loadNumber(state, STATE.EDGE);
    storeNumber(state, STATE.EDGE, this.#isPeriodic(TIMER_CHANNEL) ? this.#edgeAfter(edge, nowNs) : Infinity);
    if (this.#get(TIMER_CHANNEL, CHANNEL.MODE) !== MODE.INTERRUPT_ON_TERMINAL_COUNT) this.#interrupt.set(false);
    this.#interrupt.set(true);
  }

  #get(channel: number, word: number): number {
    return this.#state[STATE.CHANNELS + channel * CHANNEL.WORDS + word]!;
  }

  #set(channel: number, word: number, value: number): void {
    this.#state[STATE.CHANNELS + channel * CHANNEL.WORDS + word] = value;
  }

  #getNumber(channel: number, word: number): number {
    return loadNumber(this.#state, STATE.CHANNELS + channel * CHANNEL.WORDS + word);
  }

  #setNumber(channel: number, word: number, value: number): void {
    storeNumber(this.#state, STATE.CHANNELS + channel * CHANNEL.WORDS + word, value);
  }

  // ---- Ports ----

  #readSystemControl(nowNs: number): number {
    this.#settle(SPEAKER_CHANNEL, nowNs);
    let value = this.#state[STATE.SYSTEM_CONTROL]!;
    if (Math.floor(nowNs / REFRESH_NS) % 2 !== 0) value |= SYSTEM_CONTROL.REFRESH;
    if (this.#output(SPEAKER_CHANNEL, nowNs)) value |= SYSTEM_CONTROL.OUTPUT;
    return value;
  }

  #writeSystemControl(value: number): void {
    this.#state[STATE.SYSTEM_CONTROL] = value & SYSTEM_CONTROL.WRITABLE;
    this.#setGate(SPEAKER_CHANNEL, (value & SYSTEM_CONTROL.GATE) !== 0, this.#clock.nowNs());
  }

  #writeControl(value: number): void {
    const channel = value >>> CONTROL.CHANNEL_SHIFT;
    const nowNs = this.#clock.nowNs();
    if (channel === CONTROL.READ_BACK) {
      this.#readBack(value, nowNs);
      return;
    }
    const access = (value >>> CONTROL.ACCESS_SHIFT) & 3;
    if (access === ACCESS.LATCH) {
      this.#latchCount(channel, nowNs);
      return;
    }
    const mode = (value >>> CONTROL.MODE_SHIFT) & 7;
    this.#set(channel, CHANNEL.MODE, mode > MODE.HARDWARE_STROBE ? mode & 3 : mode);
    this.#set(channel, CHANNEL.BCD, value & CONTROL.BCD);
    this.#set(channel, CHANNEL.ACCESS, access);
    this.#set(channel, CHANNEL.WRITE_HIGH_NEXT, 0);
    this.#set(channel, CHANNEL.READ_HIGH_NEXT, 0);
    this.#set(channel, CHANNEL.LATCHED, 0);
    this.#set(channel, CHANNEL.STATUS_LATCHED, 0);
    this.#stop(channel, nowNs);
  }

  #readBack(value: number, nowNs: number): void {
    for (let channel = 0; channel < CHANNEL_COUNT; channel++) {
      if ((value & (READ_BACK.CHANNEL_0 << channel)) === 0) continue;
      if ((value & READ_BACK.NO_COUNT) === 0) this.#latchCount(channel, nowNs);
      if ((value & READ_BACK.NO_STATUS) === 0) this.#latchStatus(channel, nowNs);
    }
  }

  #writeCounter(channel: number, value: number): void {
    const nowNs = this.#clock.nowNs();
    switch (this.#get(channel, CHANNEL.ACCESS)) {
      case ACCESS.LOW:
        this.#load(channel, value, nowNs);
        break;
      case ACCESS.HIGH:
        this.#load(channel, value << 8, nowNs);
        break;
      default:
        if (this.#get(channel, CHANNEL.WRITE_HIGH_NEXT) !== 0) {
          this.#set(channel, CHANNEL.WRITE_HIGH_NEXT, 0);
          this.#load(channel, this.#get(channel, CHANNEL.WRITE_LOW) | (value << 8), nowNs);
          break;
        }
        this.#set(channel, CHANNEL.WRITE_LOW, value);
        this.#set(channel, CHANNEL.WRITE_HIGH_NEXT, 1);
        // Mode 0: the first byte stops the count and the output goes low at once.
        if (this.#get(channel, CHANNEL.MODE) === MODE.INTERRUPT_ON_TERMINAL_COUNT) this.#stop(channel, nowNs);
    }
  }

  #readCounter(channel: number, nowNs: number): number {
    this.#settle(channel, nowNs);
    if (this.#get(channel, CHANNEL.STATUS_LATCHED) !== 0) {
      this.#set(channel, CHANNEL.STATUS_LATCHED, 0);
      return this.#get(channel, CHANNEL.LATCHED_STATUS);
    }
    const latched = this.#get(channel, CHANNEL.LATCHED) !== 0;
    const count = latched ? this.#get(channel, CHANNEL.LATCHED_COUNT) : this.#shownCount(channel, nowNs);
    const access = this.#get(channel, CHANNEL.ACCESS);
    const high = access === ACCESS.LOW_HIGH ? this.#get(channel, CHANNEL.READ_HIGH_NEXT) !== 0 : access === ACCESS.HIGH;
    if (access === ACCESS.LOW_HIGH) this.#set(channel, CHANNEL.READ_HIGH_NEXT, high ? 0 : 1);
    if (high || access !== ACCESS.LOW_HIGH) this.#set(channel, CHANNEL.LATCHED, 0);
    return high ? count >>> 8 : count & 0xff;
  }

  /** A count that is latched already stays. */
  #latchCount(channel: number, nowNs: number): void {
    if (this.#get(channel, CHANNEL.LATCHED) !== 0) return;
    this.#settle(channel, nowNs);
    this.#set(channel, CHANNEL.LATCHED_COUNT, this.#shownCount(channel, nowNs));
    this.#set(channel, CHANNEL.LATCHED, 1);
  }

  #latchStatus(channel: number, nowNs: number): void {
    if (this.#get(channel, CHANNEL.STATUS_LATCHED) !== 0) return;
    this.#settle(channel, nowNs);
    const nullCount = this.#get(channel, CHANNEL.COUNT) === 0 || this.#get(channel, CHANNEL.NEXT_COUNT) !== 0;
    const status =
      (this.#output(channel, nowNs) ? STATUS.OUTPUT : 0) |
      (nullCount ? STATUS.NULL_COUNT : 0) |
      (this.#get(channel, CHANNEL.ACCESS) << CONTROL.ACCESS_SHIFT) |
      (this.#get(channel, CHANNEL.MODE) << CONTROL.MODE_SHIFT) |
      this.#get(channel, CHANNEL.BCD);
    this.#set(channel, CHANNEL.LATCHED_STATUS, status);
    this.#set(channel, CHANNEL.STATUS_LATCHED, 1);
  }

  // ---- Counting ----

  #isPeriodic(channel: number): boolean {
    const mode = this.#get(channel, CHANNEL.MODE);
    return mode === MODE.RATE_GENERATOR || mode === MODE.SQUARE_WAVE;
  }

  /** Started by the gate's rise, which its fall does not stop. */
  #isTriggered(channel: number): boolean {
    const mode = this.#get(channel, CHANNEL.MODE);
    return mode === MODE.ONE_SHOT || mode === MODE.HARDWARE_STROBE;
  }

  /** No count; the output as the mode begins. */
  #stop(channel: number, nowNs: number): void {
    this.#set(channel, CHANNEL.COUNT, 0);
    this.#set(channel, CHANNEL.NEXT_COUNT, 0);
    this.#setNumber(channel, CHANNEL.FROZEN_TICKS, 0);
    this.#setNumber(channel, CHANNEL.START_NS, Infinity);
    if (channel !== TIMER_CHANNEL) return;
    storeNumber(this.#state, STATE.EDGE, Infinity);
    this.#interrupt.set(this.#output(channel, nowNs));
  }

  #load(channel: number, written: number, nowNs: number): void {
    this.#settle(channel, nowNs);
    const bcd = this.#get(channel, CHANNEL.BCD) !== 0;
    const count = (bcd ? fromBcd(written) : written) || (bcd ? 10_000 : 0x1_0000);
    const running = this.#get(channel, CHANNEL.COUNT) !== 0;
    if (running && (this.#isPeriodic(channel) || this.#isTriggered(channel))) {
      this.#set(channel, CHANNEL.NEXT_COUNT, count);
      this.#setNumber(
        channel,
        CHANNEL.SWITCH_NS,
        this.#isPeriodic(channel) ? this.#periodEndNs(channel, nowNs) : Infinity,
      );
      return;
    }
    this.#set(channel, CHANNEL.COUNT, count);
    this.#setNumber(channel, CHANNEL.FROZEN_TICKS, 0);
    this.#setNumber(channel, CHANNEL.START_NS, this.#isTriggered(channel) ? Infinity : nowNs);
    if (channel !== TIMER_CHANNEL || this.#isTriggered(channel)) return;
    storeNumber(this.#state, STATE.EDGE, 1);
    // The output is low again in mode 0, high in the others.
    this.#interrupt.set(this.#output(channel, nowNs));
  }

  #periodEndNs(channel: number, nowNs: number): number {
    const count = this.#get(channel, CHANNEL.COUNT);
    const periods = Math.floor(this.#ticks(channel, nowNs) / count) + 1;
    return this.#getNumber(channel, CHANNEL.START_NS) + nsOfTicks(periods * count, PIT_FREQUENCY_HZ);
  }

  /** Lets a new count take over whose time has come. */
  #settle(channel: number, nowNs: number): void {
    if (this.#get(channel, CHANNEL.NEXT_COUNT) === 0 || this.#isFrozen(channel)) return;
    const switchNs = this.#getNumber(channel, CHANNEL.SWITCH_NS);
    if (nowNs < switchNs) return;
    this.#restart(channel, switchNs);
    // The switch itself is a rising edge.
    if (channel === TIMER_CHANNEL) storeNumber(this.#state, STATE.EDGE, 0);
  }

  #restart(channel: number, startNs: number): void {
    const next = this.#get(channel, CHANNEL.NEXT_COUNT);
    if (next !== 0) this.#set(channel, CHANNEL.COUNT, next);
    this.#set(channel, CHANNEL.NEXT_COUNT, 0);
    this.#setNumber(channel, CHANNEL.START_NS, startNs);
  }

  #setGate(channel: number, high: boolean, nowNs: number): void {
    if ((this.#get(channel, CHANNEL.GATE) !== 0) === high) return;
    this.#settle(channel, nowNs);
    const frozenTicks = this.#ticks(channel, nowNs);
    this.#set(channel, CHANNEL.GATE, high ? 1 : 0);
    if (this.#get(channel, CHANNEL.COUNT) === 0) return;
    if (!high) this.#setNumber(channel, CHANNEL.FROZEN_TICKS, frozenTicks);
    else if (this.#isPeriodic(channel) || this.#isTriggered(channel)) this.#restart(channel, nowNs);
    else this.#setNumber(channel, CHANNEL.START_NS, nowNs - nsOfTicks(frozenTicks, PIT_FREQUENCY_HZ));
  }

  /** The gate is low and the mode heeds it. */
  #isFrozen(channel: number): boolean {
    return this.#get(channel, CHANNEL.GATE) === 0 && !this.#isTriggered(channel);
  }

  /** Ticks since the count began. */
  #ticks(channel: number, nowNs: number): number {
    if (this.#isFrozen(channel)) return this.#getNumber(channel, CHANNEL.FROZEN_TICKS);
    const startNs = this.#getNumber(channel, CHANNEL.START_NS);
    return startNs < nowNs ? ticksOfNs(nowNs - startNs, PIT_FREQUENCY_HZ) : 0;
  }

  #output(channel: number, nowNs: number): boolean {
    const mode = this.#get(channel, CHANNEL.MODE);
    const count = this.#get(channel, CHANNEL.COUNT);
    if (count === 0) return mode !== MODE.INTERRUPT_ON_TERMINAL_COUNT;
    if (this.#isPeriodic(channel) && this.#isFrozen(channel)) return true;
    const ticks = this.#ticks(channel, nowNs);
    switch (mode) {
      case MODE.INTERRUPT_ON_TERMINAL_COUNT:
        return ticks >= count;
      case MODE.ONE_SHOT:
        return ticks >= count || this.#getNumber(channel, CHANNEL.START_NS) === Infinity;
      case MODE.RATE_GENERATOR:
        return ticks % count !== count - 1;
      case MODE.SQUARE_WAVE:
        return ticks % count < Math.ceil(count / 2);
      default:
        return ticks !== count;
    }
  }

  /** The counting element, as it is read. */
  #shownCount(channel: number, nowNs: number): number {
    const count = this.#get(channel, CHANNEL.COUNT);
    const bcd = this.#get(channel, CHANNEL.BCD) !== 0;
    const modulus = bcd ? 10_000 : 0x1_0000;
    const ticks = this.#ticks(channel, nowNs);
    let value: number;
    if (this.#get(channel, CHANNEL.MODE) === MODE.SQUARE_WAVE) {
      // Down by two, twice in a period.
      value = count === 0 ? 0 : (count & ~1) - 2 * ((ticks % count) % Math.ceil(count / 2));
    } else if (this.#isPeriodic(channel)) {
      value = count === 0 ? 0 : count - (ticks % count);
    } else {
      value = (((count - ticks) % modulus) + modulus) % modulus;
    }
    return bcd ? toBcd(value % modulus) : value % modulus;
  }

  // ---- Edges of the timer channel ----

  /** When the rising edge with this number comes. */
  #edgeNs(edge: number): number {
    const count = this.#get(TIMER_CHANNEL, CHANNEL.COUNT);
    if (edge === Infinity || count === 0) return Infinity;
    // The strobe of mode 4 is low for one tick.
    const strobe = this.#get(TIMER_CHANNEL, CHANNEL.MODE) === MODE.SOFTWARE_STROBE ? 1 : 0;
    return this.#getNumber(TIMER_CHANNEL, CHANNEL.START_NS) + nsOfTicks(edge * count + strobe, PIT_FREQUENCY_HZ);
  }

  #edgeAfter(edge: number, nowNs: number): number {
    const count = this.#get(TIMER_CHANNEL, CHANNEL.COUNT);
    const past = Math.floor(this.#ticks(TIMER_CHANNEL, nowNs) / count);
    return past - edge > CATCH_UP_PERIODS_MAX ? past + 1 : edge + 1;
  }
}

/** Four decimal digits; a digit above 9 counts as it stands. */
function fromBcd(value: number): number {
  return (value >>> 12) * 1000 + ((value >>> 8) & 0xf) * 100 + ((value >>> 4) & 0xf) * 10 + (value & 0xf);
}

function toBcd(value: number): number {
  const thousands = Math.floor(value / 1000) % 10;
  const hundreds = Math.floor(value / 100) % 10;
  const tens = Math.floor(value / 10) % 10;
  return (thousands << 12) | (hundreds << 8) | (tens << 4) | (value % 10);
}

import type { InterruptLine } from '#hypervisor/irq-chip.ts';
import { GiB, KiB, MiB } from '#util/bits.ts';
import type { Clock } from '#util/clock.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import { loadNumber, storeNumber } from '#util/state-words.ts';
import { nsOfTicks, ticksOfNs } from '#util/ticks.ts';
import type { BusDevice } from '../bus-device.ts';
import { dayOfMonth, daysFromDate, monthOfDays, weekday, yearOfDays } from './calendar.ts';

/**
 * Real-time clock and CMOS memory: Motorola MC146818A data sheet (1984), with the PC's use of the memory. The clock shows the
 * host's time of day in UTC, shifted by what the guest sets. Daylight saving and the square wave are left out.
 */

/** Offsets from port 0x70. The index port's bit 7, the NMI mask, has no effect. */
const PORT = { INDEX: 0, DATA: 1 } as const;

/** Time, calendar and alarm bytes, data sheet table 2; CENTURY is the one that the FADT names. */
const BYTE = {
  SECONDS: 0x00,
  SECONDS_ALARM: 0x01,
  MINUTES: 0x02,
  MINUTES_ALARM: 0x03,
  HOURS: 0x04,
  HOURS_ALARM: 0x05,
  WEEKDAY: 0x06,
  DAY: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  BASE_MEMORY: 0x15,
  EXTENDED_MEMORY: 0x17,
  EXTENDED_MEMORY_FOUND: 0x30,
  CENTURY: 0x32,
  MEMORY_ABOVE_16_MIB: 0x34,
  MEMORY_ABOVE_4_GIB: 0x5b,
  COUNT: 0x80,
} as const;

const A = { UPDATE_IN_PROGRESS: 0x80, DIVIDER: 0x70, RATE: 0x0f } as const;
/** Table 4: the setting for a 32.768 kHz crystal. 0x60 and 0x70 hold the divider in reset; the others are not for this crystal. */
const DIVIDER_RUNNING = 0x20;
const CRYSTAL_HZ = 32_768;
/** 1024 Hz. */
const RATE_AT_RESET = 6;
const B = { SET: 0x80, PERIODIC: 0x40, ALARM: 0x20, UPDATE: 0x10, BINARY: 0x04, HOURS_24: 0x02 } as const;
const C = { INTERRUPT: 0x80, PERIODIC: 0x40, ALARM: 0x20, UPDATE: 0x10 } as const;
const D_VALID = 0x80;
/** Bits 7 and 6 of an alarm byte: any value matches. */
const ALARM_ANY = 0xc0;
const PM = 0x80;

/** The update-in-progress bit shows so long before the second changes: at least the data sheet's 244 µs. */
const UPDATE_MS = 1;
/** From the release of the divider's reset to the first update, data sheet "Divider Control". */
const FIRST_UPDATE_MS = 500;
const SECONDS_PER_DAY = 86_400;

const STATE = {
  INITIALISED: 0,
  INDEX: 1,
  /** What the guest's time is ahead of the host's, in milliseconds. */
  OFFSET_MS: 2,
  /** The second (since the epoch) and the period (since the clock's origin) up to which flags are set. */
  SEEN_SECOND: 4,
  SEEN_PERIOD: 6,
  /** The second of the next alarm, or Infinity. */
  ALARM_SECOND: 8,
  BYTES: 10,
  WORDS: 10 + BYTE.COUNT,
} as const;

export interface CmosOptions {
  readonly clock: Clock;
  /** Interrupt 8. */
  readonly interrupt: InterruptLine;
  /** RAM below and above 4 GiB, for the size bytes that firmware and kernels read. */
  readonly lowMemoryBytes: number;
  readonly highMemoryBytes: number;
}

/** Two ports, index and data. After an access the deadline may be another one. */
export class Cmos implements BusDevice, DeadlineSource {
  static readonly STATE_WORDS = STATE.WORDS;

  readonly name = 'cmos';
  readonly #state: Int32Array;
  readonly #options: CmosOptions;

  constructor(state: Int32Array, options: CmosOptions) {
    this.#state = state;
    this.#options = options;
    if (state[STATE.INITIALISED] === 0) this.#initialise();
  }

  #initialise(): void {
    const state = this.#state;
    state.fill(0, 0, STATE.WORDS);
    state[STATE.INITIALISED] = 1;
    this.#set(BYTE.A, DIVIDER_RUNNING | RATE_AT_RESET);
    this.#set(BYTE.B, B.HOURS_24);
    this.#set(BYTE.D, D_VALID);
    this.#describeMemory();
    storeNumber(state, STATE.SEEN_SECOND, this.#second());
    storeNumber(state, STATE.SEEN_PERIOD, this.#period(this.#options.clock.nowNs()));
    this.#findAlarm();
  }

  /** The RESET pin, data sheet "RESET": interrupts are disabled and cleared; time and memory live on. */
  reset(): void {
    this.#set(BYTE.B, this.#get(BYTE.B) & ~(B.PERIODIC | B.ALARM | B.UPDATE));
    this.#set(BYTE.C, 0);
    this.#state[STATE.INDEX] = 0;
    this.#options.interrupt.set(false);
  }

  read(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) data[i] = offset + i === PORT.DATA ? this.#readByte() : 0xff;
  }

  write(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) {
      if (offset + i === PORT.INDEX) this.#state[STATE.INDEX] = data[i]! & (BYTE.COUNT - 1);
      else if (offset + i === PORT.DATA) this.#writeByte(this.#state[STATE.INDEX]!, data[i]!);
    }
  }

  /** The next interrupt. While one waits for its acknowledgement no other comes. */
  nextDeadlineNs(): number {
    const enabled = this.#get(BYTE.B);
    if ((enabled & (B.PERIODIC | B.ALARM | B.UPDATE)) === 0) return Infinity;
    if ((this.#get(BYTE.C) & C.INTERRUPT) !== 0) return Infinity;
    const nowNs = this.#options.clock.nowNs();
    let deadlineNs = Infinity;
    const periodTicks = this.#periodTicks();
    if ((enabled & B.PERIODIC) !== 0 && periodTicks !== Infinity) {
      deadlineNs = nsOfTicks((loadNumber(this.#state, STATE.SEEN_PERIOD) + 1) * periodTicks, CRYSTAL_HZ);
    }
    if (!this.#isRunning()) return deadlineNs;
    let second = Infinity;
    if ((enabled & B.UPDATE) !== 0) second = loadNumber(this.#state, STATE.SEEN_SECOND) + 1;
    if ((enabled & B.ALARM) !== 0) second = Math.min(second, loadNumber(this.#state, STATE.ALARM_SECOND));
    const leftMs = second * 1000 - this.#timeMs();
    // What is due is due at any time that the caller may have read before: not `now`, which has gone on since.
    return Math.min(deadlineNs, leftMs > 0 ? nowNs + leftMs * 1e6 : 0);
  }

  advance(nowNs: number): void {
    let flags = 0;
    const period = this.#period(nowNs);
    if (period > loadNumber(this.#state, STATE.SEEN_PERIOD)) flags |= C.PERIODIC;
    storeNumber(this.#state, STATE.SEEN_PERIOD, period);
    if (this.#isRunning()) flags |= this.#advanceSecond(this.#second());
    if (flags !== 0) this.#raise(flags);
  }

  #get(index: number): number {
    return this.#state[STATE.BYTES + index]!;
  }

  #set(index: number, value: number): void {
    this.#state[STATE.BYTES + index] = value & 0xff;
  }

  /** A little-endian size in units, no more than fits. */
  #setSize(index: number, byteCount: number, units: number): void {
    const value = Math.min(Math.max(0, Math.floor(units)), 2 ** (8 * byteCount) - 1);
    for (let i = 0; i < byteCount; i++) this.#set(index + i, Math.floor(value / 2 ** (8 * i)) % 256);
  }

  #describeMemory(): void {
    const lowBytes = Math.min(this.#options.lowMemoryBytes, 4 * GiB);
    this.#setSize(BYTE.BASE_MEMORY, 2, 640);
    this.#setSize(BYTE.EXTENDED_MEMORY, 2, (lowBytes - MiB) / KiB);
    this.#setSize(BYTE.EXTENDED_MEMORY_FOUND, 2, (lowBytes - MiB) / KiB);
    this.#setSize(BYTE.MEMORY_ABOVE_16_MIB, 2, (lowBytes - 16 * MiB) / (64 * KiB));
    this.#setSize(BYTE.MEMORY_ABOVE_4_GIB, 3, this.#options.highMemoryBytes / (64 * KiB));
  }

  // ---- Registers ----

  #readByte(): number {
    const index = this.#state[STATE.INDEX]!;
    switch (index) {
      case BYTE.A:
        return this.#get(BYTE.A) | (this.#isUpdating() ? A.UPDATE_IN_PROGRESS : 0);
      case BYTE.C: {
        this.advance(this.#options.clock.nowNs());
        const flags = this.#get(BYTE.C);
        this.#set(BYTE.C, 0);
        this.#options.interrupt.set(false);
        return flags;
      }
      default:
        if (isTimeByte(index) && this.#isRunning()) this.#showTime(this.#second());
        return this.#get(index);
    }
  }

  #writeByte(index: number, value: number): void {
    this.advance(this.#options.clock.nowNs());
    switch (index) {
      case BYTE.A:
        this.#writeA(value);
        break;
      case BYTE.B:
        this.#writeB(value);
        break;
      case BYTE.C:
      case BYTE.D:
        break;
      case BYTE.SECONDS_ALARM:
      case BYTE.MINUTES_ALARM:
      case BYTE.HOURS_ALARM:
        this.#set(index, value);
        this.#findAlarm();
        break;
      default:
        if (isTimeByte(index) && this.#isRunning()) this.#changeTime(index, value);
        else this.#set(index, value);
    }
  }

  #writeA(value: number): void {
    const wasRunning = this.#isRunning();
    const wasDividing = this.#isDividing();
    if (wasRunning) this.#showTime(this.#second());
    this.#set(BYTE.A, value & (A.DIVIDER | A.RATE));
    storeNumber(this.#state, STATE.SEEN_PERIOD, this.#period(this.#options.clock.nowNs()));
    if (wasDividing || !this.#isDividing()) return;
    // Under SET too: the seconds of the divider begin here, whenever the time goes on.
    this.#takeTime(FIRST_UPDATE_MS);
    this.#findAlarm();
  }

  #writeB(value: number): void {
    const wasRunning = this.#isRunning();
    if (wasRunning) this.#showTime(this.#second());
    this.#set(BYTE.B, value);
    // The divider did not stop for SET: the second under way ends when it would have ended.
    if (!wasRunning && this.#isRunning()) this.#takeTime(this.#timeMs() - this.#second() * 1000);
    this.#findAlarm();
    // A flag that is set already interrupts as soon as it is enabled.
    this.#raise(0);
  }

  #raise(flags: number): void {
    const all = (this.#get(BYTE.C) & ~C.INTERRUPT) | flags;
    const interrupt = (all & this.#get(BYTE.B) & (C.PERIODIC | C.ALARM | C.UPDATE)) !== 0;
    this.#set(BYTE.C, interrupt ? all | C.INTERRUPT : all);
    this.#options.interrupt.set(interrupt);
  }

  // ---- Time ----

  /** SET and a divider at rest stop the updates: the time bytes are then plain memory. */
  #isRunning(): boolean {
    return (this.#get(BYTE.B) & B.SET) === 0 && this.#isDividing();
  }

  #isDividing(): boolean {
    return (this.#get(BYTE.A) & A.DIVIDER) === DIVIDER_RUNNING;
  }

  #isUpdating(): boolean {
    if (!this.#isRunning()) return false;
    return this.#timeMs() - this.#second() * 1000 >= 1000 - UPDATE_MS;
  }

  #timeMs(): number {
    return Math.floor(this.#options.clock.wallMs()) + loadNumber(this.#state, STATE.OFFSET_MS);
  }

  #second(): number {
    return Math.floor(this.#timeMs() / 1000);
  }

  /** Of the crystal, between two periodic interrupts. */
  #periodTicks(): number {
    const rate = this.#get(BYTE.A) & A.RATE;
    if (rate === 0 || !this.#isDividing()) return Infinity;
    // Table 5: with this crystal the two fastest rates are those of 8 and 9.
    return 2 ** (rate < 3 ? rate + 6 : rate - 1);
  }

  #period(nowNs: number): number {
    return Math.floor(ticksOfNs(nowNs, CRYSTAL_HZ) / this.#periodTicks());
  }

  #advanceSecond(second: number): number {
    const seen = loadNumber(this.#state, STATE.SEEN_SECOND);
    if (second === seen) return 0;
    storeNumber(this.#state, STATE.SEEN_SECOND, second);
    if (second < seen) {
      // The host's time was set back.
      this.#findAlarm();
      return 0;
    }
    if (second < loadNumber(this.#state, STATE.ALARM_SECOND)) return C.UPDATE;
    this.#findAlarm();
    return C.UPDATE | C.ALARM;
  }

  #encode(value: number): number {
    return (this.#get(BYTE.B) & B.BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(value: number): number {
    return (this.#get(BYTE.B) & B.BINARY) !== 0 ? value : (value >>> 4) * 10 + (value & 0xf);
  }

  #encodeHour(hour: number): number {
    if ((this.#get(BYTE.B) & B.HOURS_24) !== 0) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? PM : 0);
  }

  #decodeHour(value: number): number {
    if ((this.#get(BYTE.B) & B.HOURS_24) !== 0) return this.#decode(value);
    return (this.#decode(value & ~PM) % 12) + ((value & PM) !== 0 ? 12 : 0);
  }

  /** Fills the time bytes. */
  #showTime(second: number): void {
    const days = Math.floor(second / SECONDS_PER_DAY);
    const secondOfDay = second - days * SECONDS_PER_DAY;
    const year = yearOfDays(days);
    this.#set(BYTE.SECONDS, this.#encode(secondOfDay % 60));
    this.#set(BYTE.MINUTES, this.#encode(Math.floor(secondOfDay / 60) % 60));
    this.#set(BYTE.HOURS, this.#encodeHour(Math.floor(secondOfDay / 3600)));
    this.#set(BYTE.WEEKDAY, this.#encode(weekday(days) + 1));
    this.#set(BYTE.DAY, this.#encode(dayOfMonth(days)));
    this.#set(BYTE.MONTH, this.#encode(monthOfDays(days)));
    this.#set(BYTE.YEAR, this.#encode(year % 100));
    this.#set(BYTE.CENTURY, this.#encode(Math.floor(year / 100) % 100));
  }

  /** Makes the time bytes the time, `fractionMs` into that second. */
  #takeTime(fractionMs: number): void {
    const year = this.#decode(this.#get(BYTE.CENTURY)) * 100 + this.#decode(this.#get(BYTE.YEAR));
    const month = Math.min(Math.max(1, this.#decode(this.#get(BYTE.MONTH))), 12);
    const days = daysFromDate(year, month, this.#decode(this.#get(BYTE.DAY)));
    const minutes = this.#decodeHour(this.#get(BYTE.HOURS)) * 60 + this.#decode(this.#get(BYTE.MINUTES));
    const second = days * SECONDS_PER_DAY + minutes * 60 + this.#decode(this.#get(BYTE.SECONDS));
    const wallMs = Math.floor(this.#options.clock.wallMs());
    storeNumber(this.#state, STATE.OFFSET_MS, second * 1000 + fractionMs - wallMs);
    storeNumber(this.#state, STATE.SEEN_SECOND, second);
  }

  /** One byte of the running clock is written: the others keep their values. */
  #changeTime(index: number, value: number): void {
    const timeMs = this.#timeMs();
    const second = Math.floor(timeMs / 1000);
    this.#showTime(second);
    this.#set(index, value);
    this.#takeTime(timeMs - second * 1000);
    this.#findAlarm();
  }

  // ---- Alarm ----

  /** Finds the first second after SEEN_SECOND that the alarm bytes match. */
  #findAlarm(): void {
    const seen = loadNumber(this.#state, STATE.SEEN_SECOND);
    const dayStart = Math.floor(seen / SECONDS_PER_DAY) * SECONDS_PER_DAY;
    let alarm = this.#alarmFrom(seen + 1 - dayStart);
    if (alarm >= SECONDS_PER_DAY) alarm = SECONDS_PER_DAY + this.#alarmFrom(0);
    storeNumber(this.#state, STATE.ALARM_SECOND, dayStart + alarm);
  }

  /** The first matching second of a day from `start` on; Infinity when there is none. */
  #alarmFrom(start: number): number {
    for (let hour = Math.floor(start / 3600); hour < 24; hour++) {
      if (!this.#alarmMatches(BYTE.HOURS_ALARM, hour)) continue;
      for (let minute = 0; minute < 60; minute++) {
        if (!this.#alarmMatches(BYTE.MINUTES_ALARM, minute)) continue;
        for (let second = 0; second < 60; second++) {
          const candidate = hour * 3600 + minute * 60 + second;
          if (candidate >= start && this.#alarmMatches(BYTE.SECONDS_ALARM, second)) return candidate;
        }
      }
    }
    return Infinity;
  }

  #alarmMatches(index: number, value: number): boolean {
    const alarm = this.#get(index);
    if ((alarm & ALARM_ANY) === ALARM_ANY) return true;
    return (index === BYTE.HOURS_ALARM ? this.#decodeHour(alarm) : this.#decode(alarm)) === value;
  }
}

function isTimeByte(index: number): boolean {
  const isAlarm = index === BYTE.SECONDS_ALARM || index === BYTE.MINUTES_ALARM || index === BYTE.HOURS_ALARM;
  return (index <= BYTE.YEAR && !isAlarm) || index === BYTE.CENTURY;
}

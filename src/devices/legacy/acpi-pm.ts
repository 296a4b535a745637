import type { InterruptLine } from '#hypervisor/irq-chip.ts';
import type { Clock } from '#util/clock.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import { loadNumber, storeNumber } from '#util/state-words.ts';
import { nsOfTicks, ticksOfNs } from '#util/ticks.ts';
import type { BusDevice } from '../bus-device.ts';

/**
 * The fixed hardware of ACPI, specification 6.3 §4.8.3: power management events, control and timer. The machine is always in
 * ACPI mode: there is no SMI command port and SCI_EN is fixed.
 */
export const ACPI_PM_SIZE = 0x0c;

const OFFSET = { STATUS: 0x0, ENABLE: 0x2, CONTROL: 0x4, CONTROL_END: 0x6, TIMER: 0x8, END: 0xc } as const;

/** PM1 status, §4.8.3.1.1; bits are cleared by writing 1. */
const STATUS = { TIMER: 1 << 0, POWER_BUTTON: 1 << 8, WAKE: 1 << 15 } as const;

/** PM1 enable, §4.8.3.1.2. An RTC event never comes, but drivers enable it and look whether the bit stays. */
const ENABLE = { TIMER: 1 << 0, GLOBAL: 1 << 5, POWER_BUTTON: 1 << 8, RTC: 1 << 10 } as const;
const ENABLE_WRITABLE = ENABLE.TIMER | ENABLE.GLOBAL | ENABLE.POWER_BUTTON | ENABLE.RTC;

/** PM1 control, §4.8.3.2.1. GBL_RLS and SLP_EN read as 0. */
const CONTROL = { SCI_ENABLE: 1 << 0, BUS_MASTER_RELOAD: 1 << 1, SLEEP_TYPE_SHIFT: 10, SLEEP_ENABLE: 1 << 13 } as const;
const SLEEP_TYPE_MASK = 7 << CONTROL.SLEEP_TYPE_SHIFT;
const CONTROL_STORED = CONTROL.BUS_MASTER_RELOAD | SLEEP_TYPE_MASK;

/** SLP_TYP of the soft-off state, as the DSDT's \_S5 says. */
export const SLEEP_TYPE_S5 = 5;

export const PM_TIMER_FREQUENCY_HZ = 3_579_545;

const STATE = {
  INITIALISED: 0,
  STATUS: 1,
  ENABLE: 2,
  CONTROL: 3,
  /** How often the timer's highest bit had changed when last looked at. */
  TIMER_HALVES: 4,
  WORDS: 6,
} as const;

export interface AcpiPmOptions {
  readonly clock: Clock;
  /** The system control interrupt: level. */
  readonly interrupt: InterruptLine;
  /** The guest has entered S5. */
  readonly onPowerOff: () => void;
  /** TMR_VAL_EXT of the FADT: 32 by default. */
  readonly timerBits?: 24 | 32;
}

/** A block of 12 ports. */
export class AcpiPm implements BusDevice, DeadlineSource {
  static readonly STATE_WORDS = STATE.WORDS;

  readonly name = 'acpi-pm';
  readonly #state: Int32Array;
  readonly #options: AcpiPmOptions;
  readonly #timerBits: number;

  constructor(state: Int32Array, options: AcpiPmOptions) {
    this.#state = state;
    this.#options = options;
    this.#timerBits = options.timerBits ?? 32;
    if (state[STATE.INITIALISED] === 0) this.reset();
  }

  reset(): void {
    const state = this.#state;
    state.fill(0, 0, STATE.WORDS);
    state[STATE.INITIALISED] = 1;
    storeNumber(state, STATE.TIMER_HALVES, this.#timerHalves(this.#options.clock.nowNs()));
    this.#updateInterrupt();
  }

  /** The user presses the power button: the guest is asked to shut down. */
  pressPowerButton(): void {
    this.#state[STATE.STATUS] = this.#state[STATE.STATUS]! | STATUS.POWER_BUTTON;
    this.#updateInterrupt();
  }

  read(offset: number, data: Uint8Array): void {
    const nowNs = this.#options.clock.nowNs();
    this.advance(nowNs);
    const ticks = ticksOfNs(nowNs, PM_TIMER_FREQUENCY_HZ) % 2 ** this.#timerBits;
    for (let i = 0; i < data.length; i++) data[i] = this.#readByte(offset + i, ticks);
  }

  write(offset: number, data: Uint8Array): void {
    this.advance(this.#options.clock.nowNs());
    for (let i = 0; i < data.length; i++) this.#writeByte(offset + i, data[i]!);
    this.#updateInterrupt();
  }

  /** The next change of the timer's highest bit, if the guest wants to hear of it. */
  nextDeadlineNs(): number {
    const state = this.#state;
    if ((state[STATE.ENABLE]! & ENABLE.TIMER) === 0 || (state[STATE.STATUS]! & STATUS.TIMER) !== 0) return Infinity;
    const next = (loadNumber(state, STATE.TIMER_HALVES) + 1) * this.#halfTicks();
    return nsOfTicks(next, PM_TIMER_FREQUENCY_HZ);
  }

  advance(nowNs: number): void {
    const halves = this.#timerHalves(nowNs);
    if (halves === loadNumber(this.#state, STATE.TIMER_HALVES)) return;
    storeNumber(this.#state, STATE.TIMER_HALVES, halves);
    this.#state[STATE.STATUS] = this.#state[STATE.STATUS]! | STATUS.TIMER;
    this.#updateInterrupt();
  }

  #halfTicks(): number {
    return 2 ** (this.#timerBits - 1);
  }

  #timerHalves(nowNs: number): number {
    return Math.floor(ticksOfNs(nowNs, PM_TIMER_FREQUENCY_HZ) / this.#halfTicks());
  }

  #readByte(offset: number, ticks: number): number {
    const state = this.#state;
    const shift = 8 * (offset & 1);
    if (offset < OFFSET.ENABLE) return (state[STATE.STATUS]! >>> shift) & 0xff;
    if (offset < OFFSET.CONTROL) return (state[STATE.ENABLE]! >>> shift) & 0xff;
    if (offset < OFFSET.CONTROL_END) return ((state[STATE.CONTROL]! | CONTROL.SCI_ENABLE) >>> shift) & 0xff;
    if (offset >= OFFSET.TIMER && offset < OFFSET.END)
      return Math.floor(ticks / 2 ** (8 * (offset - OFFSET.TIMER))) & 0xff;
    return offset < OFFSET.END ? 0 : 0xff;
  }

  #writeByte(offset: number, byte: number): void {
    const state = this.#state;
    const shift = 8 * (offset & 1);
    const value = byte << shift;
    const others = ~(0xff << shift);
    if (offset < OFFSET.ENABLE) state[STATE.STATUS] = state[STATE.STATUS]! & ~value;
    else if (offset < OFFSET.CONTROL) {
      state[STATE.ENABLE] = (state[STATE.ENABLE]! & others) | (value & ENABLE_WRITABLE);
    } else if (offset < OFFSET.CONTROL_END) {
      const control = (state[STATE.CONTROL]! & others) | (value & CONTROL_STORED);
      state[STATE.CONTROL] = control;
      if ((value & CONTROL.SLEEP_ENABLE) !== 0) this.#sleep((control & SLEEP_TYPE_MASK) >>> CONTROL.SLEEP_TYPE_SHIFT);
    }
  }

  /** Other sleep states than S5 are not announced to the guest; asking for one wakes it at once. */
  #sleep(type: number): void {
    if (type === SLEEP_TYPE_S5) this.#options.onPowerOff();
    else this.#state[STATE.STATUS] = this.#state[STATE.STATUS]! | STATUS.WAKE;
  }

  #updateInterrupt(): void {
    this.#options.interrupt.set((this.#state[STATE.STATUS]! & this.#state[STATE.ENABLE]!) !== 0);
  }
}

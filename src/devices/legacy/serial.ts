import type { InterruptLine } from '#hypervisor/irq-chip.ts';
import type { BusDevice } from '../bus-device.ts';
import type { ByteSink } from './byte-sink.ts';

/**
 * 16550A UART after the National Semiconductor PC16550D data sheet (1995); sections below are its. What is simpler here:
 * a byte is sent the moment it is written, so the transmitter is empty unless the output is full; the character timeout needs no time, bytes
 * below the trigger level are announced at once; a break is received in loopback only, and there are no other errors of the
 * line; OUT2 does not gate the interrupt.
 */

/** Register offsets, table II. With DLAB, 0 and 1 are the divisor. */
const REGISTER = { DATA: 0, IER: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7, COUNT: 8 } as const;

/** Interrupt enable register, §8.7. */
const IER = { RECEIVED_DATA: 0x01, THR_EMPTY: 0x02, LINE_STATUS: 0x04, MODEM_STATUS: 0x08, WRITABLE: 0x0f } as const;

/** Interrupt identification register, §8.6 and table IV, by falling priority. */
const IIR = {
  LINE_STATUS: 0x06,
  RECEIVED_DATA: 0x04,
  CHARACTER_TIMEOUT: 0x0c,
  THR_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  NONE: 0x01,
  FIFOS_ENABLED: 0xc0,
} as const;

/** FIFO control register, §8.5. */
const FCR = { ENABLE: 0x01, CLEAR_RECEIVER: 0x02, CLEAR_TRANSMITTER: 0x04, DMA_MODE: 0x08, TRIGGER_SHIFT: 6 } as const;
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
const FIFO_SIZE = 16;

/** Line control register, §8.1. */
const LCR = { BREAK: 0x40, DIVISOR_LATCH: 0x80 } as const;

/** Modem control register, §8.8. */
const MCR = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOPBACK: 0x10, WRITABLE: 0x1f } as const;

/** Line status register, §8.4. */
const LSR = {
  DATA_READY: 0x01,
  OVERRUN: 0x02,
  FRAMING_ERROR: 0x08,
  BREAK: 0x10,
  THR_EMPTY: 0x20,
  TRANSMITTER_EMPTY: 0x40,
  ERROR_IN_FIFO: 0x80,
} as const;

/** Modem status register, §8.9. */
const MSR = {
  DELTA_CTS: 0x01,
  DELTA_DSR: 0x02,
  TRAILING_RI: 0x04,
  DELTA_DCD: 0x08,
  CTS: 0x10,
  DSR: 0x20,
  RI: 0x40,
  DCD: 0x80,
} as const;
/** The other end: always there and ready. */
const PEER_LINES = MSR.CTS | MSR.DSR | MSR.DCD;

/** So many reads of the line status without any other access mean a guest that polls for input. */
const INPUT_POLL_COUNT = 16;

/** A received character is its byte with the LSR bits that show while it is the next to be read (§8.4, bits 1 to 4). */
const ERRORS_SHIFT = 8;
/** §8.4, bit 4: a break of any length is one zero character, whose stop bit is missing. */
const BREAK_CHARACTER = (LSR.BREAK | LSR.FRAMING_ERROR) << ERRORS_SHIFT;

/** Words of the state. */
const STATE = {
  INITIALISED: 0,
  IER: 1,
  FCR: 2,
  LCR: 3,
  MCR: 4,
  /** The input lines with their delta bits. */
  MSR: 5,
  SCRATCH: 6,
  DIVISOR_LOW: 7,
  DIVISOR_HIGH: 8,
  OVERRUN: 9,
  /** The THR-empty interrupt's latch: set by a byte leaving, cleared by reading IIR or writing THR. */
  THR_EMPTY_PENDING: 10,
  /** Consecutive reads of LSR that found no data. */
  LSR_POLLS: 11,
  RECEIVE_HEAD: 12,
  RECEIVE_COUNT: 13,
  RECEIVE_FIFO: 14,
  WORDS: 14 + FIFO_SIZE,
} as const;

/** 9600 baud; the data sheet leaves the divisor undefined at reset. */
const DIVISOR_AT_RESET = 12;

export interface SerialOptions {
  /** For example `serial0`. */
  readonly name: string;
  readonly interrupt: InterruptLine;
  readonly output: ByteSink;
  /** Called on the accessing thread, the device's lock held, when `inputSpace` may have risen from 0. */
  readonly onInputSpace?: () => void;
}

/**
 * One UART on eight ports. Bytes for the guest come by `enqueueInput`, which takes no more than `inputSpace` says. That is 0
 * until the guest can receive: RTS set and the receive interrupt enabled, or the line status polled in a loop. A driver that
 * starts clears the FIFO, and what a host sent before would be lost.
 */
export class Serial implements BusDevice {
  static readonly STATE_WORDS = STATE.WORDS;

  readonly name: string;
  readonly #state: Int32Array;
  readonly #interrupt: InterruptLine;
  readonly #output: ByteSink;
  readonly #onInputSpace: (() => void) | undefined;

  /** `state` holds STATE_WORDS words, zeroed for a device that is new. */
  constructor(state: Int32Array, options: SerialOptions) {
    this.name = options.name;
    this.#state = state;
    this.#interrupt = options.interrupt;
    this.#output = options.output;
    this.#onInputSpace = options.onInputSpace;
    if (state[STATE.INITIALISED] === 0) this.reset();
  }

  /** Master reset, table III. */
  reset(): void {
    const state = this.#state;
    state.fill(0, 0, STATE.WORDS);
    state[STATE.INITIALISED] = 1;
    state[STATE.MSR] = PEER_LINES;
    state[STATE.DIVISOR_LOW] = DIVISOR_AT_RESET;
    this.#updateInterrupt();
  }

  read(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) data[i] = this.#readRegister(offset + i);
  }

  write(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) this.#writeRegister(offset + i, data[i]!);
  }

  /** How many bytes `enqueueInput` would take now. */
  inputSpace(): number {
    return this.#canReceive() ? this.#capacity() - this.#state[STATE.RECEIVE_COUNT]! : 0;
  }

  /** Puts bytes from `bytes` into the receive FIFO as far as there is room; returns how many. */
  enqueueInput(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.inputSpace());
    for (let i = 0; i < count; i++) this.#receive(bytes[i]!);
    if (count > 0) this.#updateInterrupt();
    return count;
  }

  /** The output, which was full, takes more: to be called by whoever made it. */
  resumeOutput(): void {
    this.#state[STATE.THR_EMPTY_PENDING] = 1;
    this.#updateInterrupt();
  }

  #readRegister(offset: number): number {
    const state = this.#state;
    const divisorLatch = (state[STATE.LCR]! & LCR.DIVISOR_LATCH) !== 0;
    if (offset !== REGISTER.LSR) state[STATE.LSR_POLLS] = 0;
    switch (offset) {
      case REGISTER.DATA:
        return divisorLatch ? state[STATE.DIVISOR_LOW]! : this.#readReceiveBuffer();
      case REGISTER.IER:
        return divisorLatch ? state[STATE.DIVISOR_HIGH]! : state[STATE.IER]!;
      case REGISTER.IIR_FCR:
        return this.#readInterruptIdentification();
      case REGISTER.LCR:
        return state[STATE.LCR]!;
      case REGISTER.MCR:
        return state[STATE.MCR]!;
      case REGISTER.LSR:
        return this.#readLineStatus();
      case REGISTER.MSR:
        return this.#readModemStatus();
      case REGISTER.SCR:
        return state[STATE.SCRATCH]!;
      default:
        return 0xff;
    }
  }

  #writeRegister(offset: number, value: number): void {
    const state = this.#state;
    const couldReceive = this.#canReceive();
    const wasBreak = this.#isLoopedBreak();
    const divisorLatch = (state[STATE.LCR]! & LCR.DIVISOR_LATCH) !== 0;
    state[STATE.LSR_POLLS] = 0;
    switch (offset) {
      case REGISTER.DATA:
        if (divisorLatch) state[STATE.DIVISOR_LOW] = value;
        else this.#transmit(value);
        break;
      case REGISTER.IER:
        if (divisorLatch) state[STATE.DIVISOR_HIGH] = value;
        else this.#writeInterruptEnable(value);
        break;
      case REGISTER.IIR_FCR:
        this.#writeFifoControl(value);
        break;
      case REGISTER.LCR:
        state[STATE.LCR] = value;
        break;
      case REGISTER.MCR:
        this.#writeModemControl(value);
        break;
      case REGISTER.SCR:
        state[STATE.SCRATCH] = value;
        break;
      default:
        break;
    }
    if (!wasBreak && this.#isLoopedBreak()) this.#receive(BREAK_CHARACTER);
    this.#updateInterrupt();
    if (!couldReceive && this.#canReceive()) this.#announceInputSpace();
  }

  #fifosEnabled(): boolean {
    return (this.#state[STATE.FCR]! & FCR.ENABLE) !== 0;
  }

  #capacity(): number {
    return this.#fifosEnabled() ? FIFO_SIZE : 1;
  }

  #canReceive(): boolean {
    if (this.#isLooped()) return false;
    if (this.#state[STATE.LSR_POLLS]! >= INPUT_POLL_COUNT) return true;
    return (this.#state[STATE.MCR]! & MCR.RTS) !== 0 && (this.#state[STATE.IER]! & IER.RECEIVED_DATA) !== 0;
  }

  #isLooped(): boolean {
    return (this.#state[STATE.MCR]! & MCR.LOOPBACK) !== 0;
  }

  /** The transmitter holds its own receiver's line low. */
  #isLoopedBreak(): boolean {
    return this.#isLooped() && (this.#state[STATE.LCR]! & LCR.BREAK) !== 0;
  }

  #announceInputSpace(): void {
    if (this.#onInputSpace !== undefined && this.inputSpace() > 0) this.#onInputSpace();
  }

  #receive(character: number): void {
    const state = this.#state;
    const count = state[STATE.RECEIVE_COUNT]!;
    if (count < this.#capacity()) {
      state[STATE.RECEIVE_FIFO + ((state[STATE.RECEIVE_HEAD]! + count) % FIFO_SIZE)] = character;
      state[STATE.RECEIVE_COUNT] = count + 1;
      return;
    }
    // §8.4: with FIFOs the new byte is lost in the shift register, without them it overwrites the one not yet read.
    state[STATE.OVERRUN] = 1;
    if (!this.#fifosEnabled()) state[STATE.RECEIVE_FIFO + state[STATE.RECEIVE_HEAD]!] = character;
  }

  #readReceiveBuffer(): number {
    const state = this.#state;
    const count = state[STATE.RECEIVE_COUNT]!;
    if (count === 0) return 0;
    const head = state[STATE.RECEIVE_HEAD]!;
    const byte = state[STATE.RECEIVE_FIFO + head]! & 0xff;
    state[STATE.RECEIVE_HEAD] = (head + 1) % FIFO_SIZE;
    state[STATE.RECEIVE_COUNT] = count - 1;
    this.#updateInterrupt();
    if (count === 1) this.#announceInputSpace();
    return byte;
  }

  #clearReceiver(): void {
    this.#state[STATE.RECEIVE_HEAD] = 0;
    this.#state[STATE.RECEIVE_COUNT] = 0;
  }

  #transmit(byte: number): void {
    // A write withdraws the interrupt for a moment: an edge-triggered input needs the fall before the next rise.
    this.#state[STATE.THR_EMPTY_PENDING] = 0;
    this.#updateInterrupt();
    if (!this.#isLooped()) this.#output.write(byte);
    // What is sent during a break is lost in it.
    else if (!this.#isLoopedBreak()) this.#receive(byte);
    this.#state[STATE.THR_EMPTY_PENDING] = this.#isTransmitterEmpty() ? 1 : 0;
  }

  #isTransmitterEmpty(): boolean {
    return this.#output.isFull !== true || this.#isLooped();
  }

  #writeInterruptEnable(value: number): void {
    const state = this.#state;
    const rising = value & ~state[STATE.IER]!;
    state[STATE.IER] = value & IER.WRITABLE;
    // The transmitter is empty, so enabling its interrupt raises it at once; Linux and others rely on it to start sending.
    if ((rising & IER.THR_EMPTY) !== 0 && this.#isTransmitterEmpty()) state[STATE.THR_EMPTY_PENDING] = 1;
  }

  #writeFifoControl(value: number): void {
    const state = this.#state;
    const toggled = ((value ^ state[STATE.FCR]!) & FCR.ENABLE) !== 0;
    // §8.5: changing bit 0 clears the FIFOs; the other bits only count when it is written as 1.
    if (toggled || (value & (FCR.ENABLE | FCR.CLEAR_RECEIVER)) === (FCR.ENABLE | FCR.CLEAR_RECEIVER)) {
      const hadData = state[STATE.RECEIVE_COUNT]! > 0;
      this.#clearReceiver();
      if (hadData) this.#announceInputSpace();
    }
    const enabled = (value & FCR.ENABLE) !== 0;
    state[STATE.FCR] = enabled ? value & ~(FCR.CLEAR_RECEIVER | FCR.CLEAR_TRANSMITTER) : 0;
  }

  #writeModemControl(value: number): void {
    this.#state[STATE.MCR] = value & MCR.WRITABLE;
    this.#setModemLines((value & MCR.LOOPBACK) !== 0 ? loopedLines(value) : PEER_LINES);
  }

  #setModemLines(lines: number): void {
    const before = this.#state[STATE.MSR]!;
    const changed = before ^ lines;
    let deltas = before & (MSR.DELTA_CTS | MSR.DELTA_DSR | MSR.TRAILING_RI | MSR.DELTA_DCD);
    if ((changed & MSR.CTS) !== 0) deltas |= MSR.DELTA_CTS;
    if ((changed & MSR.DSR) !== 0) deltas |= MSR.DELTA_DSR;
    if ((changed & MSR.DCD) !== 0) deltas |= MSR.DELTA_DCD;
    if ((changed & before & MSR.RI) !== 0) deltas |= MSR.TRAILING_RI;
    this.#state[STATE.MSR] = lines | deltas;
  }

  #readModemStatus(): number {
    const status = this.#state[STATE.MSR]!;
    this.#state[STATE.MSR] = status & (MSR.CTS | MSR.DSR | MSR.RI | MSR.DCD);
    this.#updateInterrupt();
    return status;
  }

  #readLineStatus(): number {
    const state = this.#state;
    let status: number = this.#isTransmitterEmpty() ? LSR.THR_EMPTY | LSR.TRANSMITTER_EMPTY : 0;
    if (state[STATE.RECEIVE_COUNT]! > 0) status |= LSR.DATA_READY;
    else this.#countLineStatusPoll();
    if (this.#fifosEnabled() && this.#hasErrorInFifo()) status |= LSR.ERROR_IN_FIFO;
    const errors = this.#lineErrors();
    if (errors === 0) return status;
    // Reading them clears them.
    state[STATE.OVERRUN] = 0;
    state[STATE.RECEIVE_FIFO + state[STATE.RECEIVE_HEAD]!]! &= 0xff;
    this.#updateInterrupt();
    return status | errors;
  }

  /** The overrun, and the errors of the character that is next. */
  #lineErrors(): number {
    const state = this.#state;
    const overrun = state[STATE.OVERRUN] !== 0 ? LSR.OVERRUN : 0;
    if (state[STATE.RECEIVE_COUNT] === 0) return overrun;
    return overrun | (state[STATE.RECEIVE_FIFO + state[STATE.RECEIVE_HEAD]!]! >>> ERRORS_SHIFT);
  }

  #hasErrorInFifo(): boolean {
    const state = this.#state;
    for (let i = 0; i < state[STATE.RECEIVE_COUNT]!; i++) {
      const character = state[STATE.RECEIVE_FIFO + ((state[STATE.RECEIVE_HEAD]! + i) % FIFO_SIZE)]!;
      if (character >>> ERRORS_SHIFT !== 0) return true;
    }
    return false;
  }

  #countLineStatusPoll(): void {
    const state = this.#state;
    const polls = state[STATE.LSR_POLLS]! + 1;
    if (polls > INPUT_POLL_COUNT) return;
    state[STATE.LSR_POLLS] = polls;
    if (polls === INPUT_POLL_COUNT) this.#announceInputSpace();
  }

  /** The source of highest priority among those pending and enabled, as IIR shows it. */
  #pendingInterrupt(): number {
    const state = this.#state;
    const enabled = state[STATE.IER]!;
    const count = state[STATE.RECEIVE_COUNT]!;
    if ((enabled & IER.LINE_STATUS) !== 0 && this.#lineErrors() !== 0) return IIR.LINE_STATUS;
    if ((enabled & IER.RECEIVED_DATA) !== 0 && count > 0) {
      const trigger = TRIGGER_LEVELS[state[STATE.FCR]! >>> FCR.TRIGGER_SHIFT] ?? 1;
      return !this.#fifosEnabled() || count >= trigger ? IIR.RECEIVED_DATA : IIR.CHARACTER_TIMEOUT;
    }
    if ((enabled & IER.THR_EMPTY) !== 0 && state[STATE.THR_EMPTY_PENDING] !== 0) return IIR.THR_EMPTY;
    const deltas = state[STATE.MSR]! & (MSR.DELTA_CTS | MSR.DELTA_DSR | MSR.TRAILING_RI | MSR.DELTA_DCD);
    if ((enabled & IER.MODEM_STATUS) !== 0 && deltas !== 0) return IIR.MODEM_STATUS;
    return IIR.NONE;
  }

  #readInterruptIdentification(): number {
    const pending = this.#pendingInterrupt();
    if (pending === IIR.THR_EMPTY) {
      this.#state[STATE.THR_EMPTY_PENDING] = 0;
      this.#updateInterrupt();
    }
    return this.#fifosEnabled() ? pending | IIR.FIFOS_ENABLED : pending;
  }

  #updateInterrupt(): void {
    this.#interrupt.set(this.#pendingInterrupt() !== IIR.NONE);
  }
}

/** §8.8: in loopback the four modem outputs drive the four inputs. */
function loopedLines(modemControl: number): number {
  let lines = 0;
  if ((modemControl & MCR.RTS) !== 0) lines |= MSR.CTS;
  if ((modemControl & MCR.DTR) !== 0) lines |= MSR.DSR;
  if ((modemControl & MCR.OUT1) !== 0) lines |= MSR.RI;
  if ((modemControl & MCR.OUT2) !== 0) lines |= MSR.DCD;
  return lines;
}

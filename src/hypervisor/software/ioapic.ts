import { type ApicMessageSink, COMMAND, DELIVERY } from './apic-message.ts';

/**
 * I/O APIC after the Intel 82093AA data sheet (290566, 1996), with the EOI register of later versions (ICH9 data sheet,
 * 316972, §13.5). Pin polarity has no effect: a line is asserted or not.
 */

export const IOAPIC_PIN_COUNT = 24;

/** Offsets in the page, §3.1. */
const OFFSET = { INDEX: 0x00, DATA: 0x10, EOI: 0x40 } as const;

/** Register indices, §3.2. A redirection entry has two registers. */
const REGISTER = { ID: 0x00, VERSION: 0x01, ARBITRATION: 0x02, REDIRECTION: 0x10 } as const;
const REDIRECTION_END = REGISTER.REDIRECTION + 2 * IOAPIC_PIN_COUNT;

/** 0x20: has an EOI register. */
const VERSION = 0x20 | ((IOAPIC_PIN_COUNT - 1) << 16);
const ID_MASK = 0x0f00_0000;

/** Low half of a redirection entry, §3.2.4; the rest has the layout of a command. */
const ENTRY = { DELIVERY_STATUS: 1 << 12, REMOTE_IRR: 1 << 14, LEVEL: 1 << 15, MASKED: 1 << 16 } as const;
const ENTRY_READ_ONLY = ENTRY.DELIVERY_STATUS | ENTRY.REMOTE_IRR;
const ENTRY_BITS = 0x1_ffff;
const ENTRY_COMMAND = COMMAND.VECTOR | COMMAND.DELIVERY_MODE | COMMAND.LOGICAL;
const DESTINATION_SHIFT = 24;

const STATE = {
  INITIALISED: 0,
  INDEX: 1,
  ID: 2,
  /** One bit a pin. */
  LEVELS: 3,
  ENTRIES: 4,
  WORDS: 4 + 2 * IOAPIC_PIN_COUNT,
} as const;

/** Not locked: the caller serialises accesses. As a device it answers one page. */
export class IoApic {
  static readonly STATE_WORDS = STATE.WORDS;

  readonly name = 'ioapic';
  readonly #state: Int32Array;
  readonly #sink: ApicMessageSink;
  readonly #onEnd: ((pin: number) => void) | undefined;

  /** `onEnd` is told of the end of service of a level-triggered pin before it may ask again; it may drive that line. */
  constructor(state: Int32Array, sink: ApicMessageSink, onEnd?: (pin: number) => void) {
    this.#state = state;
    this.#sink = sink;
    this.#onEnd = onEnd;
    if (state[STATE.INITIALISED] === 0) this.reset();
  }

  /** All pins masked; the levels of the lines are not ours to change. */
  reset(): void {
    const state = this.#state;
    state[STATE.INITIALISED] = 1;
    state[STATE.INDEX] = 0;
    state[STATE.ID] = 0;
    for (let pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
      state[STATE.ENTRIES + 2 * pin] = ENTRY.MASKED;
      state[STATE.ENTRIES + 2 * pin + 1] = 0;
    }
  }

  /** Drives input `pin`, 0 to 23. */
  setLine(pin: number, asserted: boolean): void {
    const state = this.#state;
    const bit = 1 << pin;
    const before = state[STATE.LEVELS]!;
    state[STATE.LEVELS] = asserted ? before | bit : before & ~bit;
    if (!asserted || (before & bit) !== 0) return;
    const entry = state[STATE.ENTRIES + 2 * pin]!;
    if ((entry & ENTRY.LEVEL) !== 0) this.#serviceLevel(pin);
    // An edge at a masked pin is lost.
    else if ((entry & ENTRY.MASKED) === 0) this.#deliver(pin);
  }

  /** A local APIC has ended the service of `vector`: level-triggered pins that gave it may ask again. */
  endOfInterrupt(vector: number): void {
    const state = this.#state;
    for (let pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
      const entry = state[STATE.ENTRIES + 2 * pin]!;
      if ((entry & COMMAND.VECTOR) !== vector || (entry & ENTRY.REMOTE_IRR) === 0) continue;
      state[STATE.ENTRIES + 2 * pin] = entry & ~ENTRY.REMOTE_IRR;
      this.#onEnd?.(pin);
      this.#serviceLevel(pin);
    }
  }

  /** Offers level-triggered interrupts again that no local APIC has accepted. */
  retry(): void {
    for (let pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
      if (hasEnd(this.#state[STATE.ENTRIES + 2 * pin]!)) this.#serviceLevel(pin);
    }
  }

  /** Registers are 32 bits wide at multiples of 16; other bytes of the page read as 0. */
  read(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) {
      const shift = (offset + i) & 0xf;
      const value = shift < 4 ? this.#readRegister((offset + i) & ~0xf) : 0;
      data[i] = value >>> (8 * shift);
    }
  }

  /** Only accesses to the start of a register have an effect; one of a byte writes a value below 256. */
  write(offset: number, data: Uint8Array): void {
    let value = 0;
    for (let i = 0; i < data.length && i < 4; i++) value |= data[i]! << (8 * i);
    switch (offset) {
      case OFFSET.INDEX:
        this.#state[STATE.INDEX] = value & 0xff;
        break;
      case OFFSET.DATA:
        this.#writeIndexed(this.#state[STATE.INDEX]!, value);
        break;
      case OFFSET.EOI:
        this.endOfInterrupt(value & 0xff);
        break;
      default:
        break;
    }
  }

  #readRegister(offset: number): number {
    const state = this.#state;
    if (offset === OFFSET.INDEX) return state[STATE.INDEX]!;
    if (offset !== OFFSET.DATA) return 0;
    const index = state[STATE.INDEX]!;
    switch (index) {
      case REGISTER.ID:
      case REGISTER.ARBITRATION:
        return state[STATE.ID]!;
      case REGISTER.VERSION:
        return VERSION;
      default:
        if (index < REGISTER.REDIRECTION || index >= REDIRECTION_END) return 0;
        return state[STATE.ENTRIES + index - REGISTER.REDIRECTION]!;
    }
  }

  #writeIndexed(index: number, value: number): void {
    const state = this.#state;
    if (index === REGISTER.ID) state[STATE.ID] = value & ID_MASK;
    if (index < REGISTER.REDIRECTION || index >= REDIRECTION_END) return;
    const word = STATE.ENTRIES + index - REGISTER.REDIRECTION;
    if ((index & 1) !== 0) {
      state[word] = value & (0xff << DESTINATION_SHIFT);
      return;
    }
    let entry = (value & ENTRY_BITS & ~ENTRY_READ_ONLY) | (state[word]! & ENTRY_READ_ONLY);
    // An edge-triggered pin has no remote IRR; kernels switch a pin to edge and back to end a stuck interrupt.
    if ((entry & ENTRY.LEVEL) === 0) entry &= ~ENTRY.REMOTE_IRR;
    state[word] = entry;
    if ((entry & ENTRY.LEVEL) !== 0) this.#serviceLevel((index - REGISTER.REDIRECTION) >>> 1);
  }

  /** Delivers a level-triggered pin's interrupt if its line is asserted and the last one has ended. */
  #serviceLevel(pin: number): void {
    const state = this.#state;
    const entry = state[STATE.ENTRIES + 2 * pin]!;
    if ((entry & ENTRY.LEVEL) === 0 || (entry & (ENTRY.MASKED | ENTRY.REMOTE_IRR)) !== 0) return;
    if ((state[STATE.LEVELS]! & (1 << pin)) === 0) return;
    // Only interrupts that a local APIC has accepted, and will end, wait for that end (§3.2.4, remote IRR).
    if (this.#deliver(pin) && hasEnd(entry)) state[STATE.ENTRIES + 2 * pin] = entry | ENTRY.REMOTE_IRR;
  }

  /** True when a local APIC has accepted the interrupt. */
  #deliver(pin: number): boolean {
    const state = this.#state;
    const entry = state[STATE.ENTRIES + 2 * pin]!;
    const destination = state[STATE.ENTRIES + 2 * pin + 1]! >>> DESTINATION_SHIFT;
    return this.#sink.deliver(destination, (entry & (ENTRY_COMMAND | ENTRY.LEVEL)) | COMMAND.ASSERT);
  }
}

/** Whether the local APIC that takes the interrupt tells its end: not those of NMI, INIT and the like. */
function hasEnd(entry: number): boolean {
  const mode = entry & COMMAND.DELIVERY_MODE;
  return mode === DELIVERY.FIXED || mode === DELIVERY.LOWEST_PRIORITY;
}

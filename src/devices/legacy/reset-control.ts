import type { BusDevice } from '../bus-device.ts';

/** Reset control register, port 0xcf9; Intel 82371AB (PIIX4) data sheet §4.2.5. */
const RST_CNT = { SYSTEM_RESET: 1 << 1, RESET_CPU: 1 << 2, FULL_RESET: 1 << 3 } as const;
const WRITABLE = RST_CNT.SYSTEM_RESET | RST_CNT.RESET_CPU | RST_CNT.FULL_RESET;

const STATE = { VALUE: 0 } as const;

/**
 * The register at port 0xcf9: a rise of bit 2 resets the machine. Bit 1 chooses between a hard reset and one of the processor
 * alone; the machine knows only the hard one and does it for both.
 */
export class ResetControl implements BusDevice {
  static readonly STATE_WORDS = 1;

  readonly name = 'reset-control';
  readonly #state: Int32Array;
  readonly #onReset: () => void;

  constructor(state: Int32Array, onReset: () => void) {
    this.#state = state;
    this.#onReset = onReset;
  }

  reset(): void {
    this.#state[STATE.VALUE] = 0;
  }

  read(_offset: number, data: Uint8Array): void {
    data.fill(0xff);
    data[0] = this.#state[STATE.VALUE]!;
  }

  write(_offset: number, data: Uint8Array): void {
    const value = data[0]! & WRITABLE;
    const rose = value & ~this.#state[STATE.VALUE]! & RST_CNT.RESET_CPU;
    this.#state[STATE.VALUE] = value;
    if (rose !== 0) this.#onReset();
  }
}

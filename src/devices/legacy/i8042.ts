import type { BusDevice } from '../bus-device.ts';

/** Status register when read, command register when written; Intel 8042 (UPI-41A) data sheet. */
const COMMAND_PORT = 0x64;

/** Command 0xf0..0xff pulses the output port's bits 3..0 that are 0; bit 0 is the processor's reset. */
const COMMAND = { PULSE_OUTPUT: 0xf0, PULSE_NOT_RESET: 0x01 } as const;

/**
 * The reset function of the keyboard controller, without keyboard or controller: reads give all ones, which drivers take for
 * an empty socket. Linux's i8042 driver then says "No controller found" after 16 reads, and its reboot through the controller
 * ends its wait for the input buffer after 65,536 reads (131 ms) and sends the command nevertheless. Stateless. On the bus with absolute addresses: 0x60 and 0x62..0x64 (0x61 is the PIT's).
 */
export class I8042 implements BusDevice {
  readonly name = 'i8042';
  readonly #onReset: () => void;

  constructor(onReset: () => void) {
    this.#onReset = onReset;
  }

  read(_offset: number, data: Uint8Array): void {
    data.fill(0xff);
  }

  write(offset: number, data: Uint8Array): void {
    if (offset !== COMMAND_PORT) return;
    const command = data[0]!;
    const pulsesReset = (command & COMMAND.PULSE_NOT_RESET) === 0;
    if (command >= COMMAND.PULSE_OUTPUT && pulsesReset) this.#onReset();
  }
}

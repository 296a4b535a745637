import type { BusDevice } from '../bus-device.ts';
import type { ByteSink } from './byte-sink.ts';

/** What port 0x402 reads as: how firmware and kernels find out that the console is there (Bochs and QEMU do the same). */
const PRESENT = 0xe9;

/** The one-port debug console: every byte written comes out, in order. It has no state. */
export class DebugConsole implements BusDevice {
  readonly name = 'debug-console';
  readonly #output: ByteSink;

  constructor(output: ByteSink) {
    this.#output = output;
  }

  read(_offset: number, data: Uint8Array): void {
    data.fill(PRESENT);
  }

  write(_offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) this.#output.write(data[i]!);
  }
}

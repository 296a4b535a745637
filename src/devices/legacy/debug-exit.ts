import type { BusDevice } from '../bus-device.ts';

/** A port by which test kernels end the machine with a status: the first byte that is written is handed out. It has no state. */
export class DebugExit implements BusDevice {
  readonly name = 'debug-exit';
  readonly #onExit: (value: number) => void;

  constructor(onExit: (value: number) => void) {
    this.#onExit = onExit;
  }

  /** As QEMU's isa-debug-exit. */
  read(_offset: number, data: Uint8Array): void {
    data.fill(0);
  }

  write(_offset: number, data: Uint8Array): void {
    this.#onExit(data[0]!);
  }
}

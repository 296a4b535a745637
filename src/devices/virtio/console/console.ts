/** The console, VIRTIO 1.1 §5.3: one port. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { Worker } from '../worker.ts';
import { type ConsoleEnds, createConsoleWorker } from './console-worker.ts';
import { ConsoleConfig, ConsoleFeature, QUEUE_SIZES } from './constants.ts';

/** A terminal's size in characters. */
export interface ConsoleSize {
  readonly columns: number;
  readonly rows: number;
}

export interface ConsoleResources extends ConsoleEnds {
  /** Absent: the driver is not told of a size. */
  readonly size?: ConsoleSize;
}

export class Console implements VirtioDevice {
  readonly name = 'console';
  readonly deviceType = DeviceType.CONSOLE;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  configGeneration = 0;
  readonly #ends: ConsoleEnds;
  readonly #emergency = new Uint8Array(1);
  #size: ConsoleSize | undefined;
  #interrupt: Interrupt | undefined;

  constructor({ input, output, size }: ConsoleResources) {
    this.#ends = { input, output };
    this.#size = size;
  }

  /** The terminal has another size. Only for a console that was made with one. */
  resize(size: ConsoleSize): void {
    if (this.#size === undefined) return;
    this.#size = size;
    this.configGeneration += 1;
    this.#interrupt?.signalConfigChanged();
  }

  features(): bigint {
    return ConsoleFeature.EMERG_WRITE | (this.#size === undefined ? 0n : ConsoleFeature.SIZE);
  }

  ackFeatures(_bits: bigint): void {}

  readConfig(offset: number, data: Uint8Array): void {
    const { columns = 0, rows = 0 } = this.#size ?? {};
    readConfigBytes(ConsoleConfig.encode({ cols: columns, rows }), offset, data);
  }

  /** A character of a driver that has no queues yet, §5.3.4: the low byte. */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset !== ConsoleConfig.fields.emergWr.offset || data.length === 0) return;
    this.#emergency[0] = data[0]!;
    this.#ends.output.write(this.#emergency);
  }

  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    this.#interrupt = interrupt;
    return createConsoleWorker(this.#ends, { interrupt, queues, queueEvents });
  }

  reset(): void {
    this.#interrupt = undefined;
  }

  keepFds(): readonly number[] {
    return this.#ends.input === undefined ? [] : [this.#ends.input.fd];
  }
}

export const virtioConsole = defineVirtioDevice({
  name: 'console',
  type: DeviceType.CONSOLE,
  queueSizes: QUEUE_SIZES,
  policy: 'console_device',
  create: (resources: ConsoleResources) => new Console(resources),
});

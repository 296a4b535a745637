/** The console, VIRTIO 1.1 §5.3: one port, or several that have control messages. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { Worker } from '../worker.ts';
import type { ConsolePort, ConsoleSize } from './console-port.ts';
import { ConsoleWork } from './console-worker.ts';
import { ConsoleConfig, ConsoleFeature, consoleQueueSizes, PORTS_MAX } from './constants.ts';

export interface ConsoleResources {
  /** In the order of their numbers in the guest, from 0 on. */
  readonly ports: readonly ConsolePort[];
  /** Whether there are control messages: they are needed for more than one port, and for names. */
  readonly isMultiport: boolean;
  readonly log: Log;
  /** That of the ports that are terminals; unknown by default. */
  readonly size?: ConsoleSize | undefined;
}

const UNKNOWN_SIZE: ConsoleSize = { columns: 0, rows: 0 };

export class Console implements VirtioDevice {
  readonly name = 'console';
  readonly deviceType = DeviceType.CONSOLE;
  readonly queueMaxSizes: readonly number[];
  configGeneration = 0;
  readonly #options: ConsoleResources;
  readonly #emergency = new Uint8Array(1);
  #size: ConsoleSize;
  #acked = 0n;
  #interrupt: Interrupt | undefined;
  #work: ConsoleWork | undefined;

  constructor(resources: ConsoleResources) {
    const { ports, isMultiport, size = UNKNOWN_SIZE } = resources;
    assert(ports.length > 0 && ports.length <= (isMultiport ? PORTS_MAX : 1), 'a number of ports');
    this.#options = resources;
    this.#size = size;
    this.queueMaxSizes = consoleQueueSizes(ports.length, isMultiport);
  }

  /** The terminal has another size. Touches no memory of the guest: messages go with the worker's next turn. */
  resize(size: ConsoleSize): void {
    if (size.columns === this.#size.columns && size.rows === this.#size.rows) return;
    this.#size = size;
    this.configGeneration += 1;
    if (this.#work?.control !== undefined) this.#work.control.noteSize();
    else if (this.#hasSize) this.#interrupt?.signalConfigChanged();
  }

  features(): bigint {
    const { isMultiport } = this.#options;
    const optional = (this.#hasSize ? ConsoleFeature.SIZE : 0n) | (isMultiport ? ConsoleFeature.MULTIPORT : 0n);
    return ConsoleFeature.EMERG_WRITE | optional;
  }

  ackFeatures(bits: bigint): void {
    this.#acked = bits;
  }

  readConfig(offset: number, data: Uint8Array): void {
    const { columns, rows } = this.#hasSize ? this.#size : UNKNOWN_SIZE;
    const maxNrPorts = this.#options.isMultiport ? this.#options.ports.length : 0;
    readConfigBytes(ConsoleConfig.encode({ cols: columns, rows, maxNrPorts }), offset, data);
  }

  /** A character of a driver that has no queues yet, §5.3.4: the low byte. It is lost where the output has no room. */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset !== ConsoleConfig.fields.emergWr.offset || data.length === 0) return;
    const { ports } = this.#options;
    this.#emergency[0] = data[0]!;
    (ports.find(({ isConsole }) => isConsole) ?? ports[0])?.output.write(this.#emergency);
  }

  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    const { ports, log } = this.#options;
    const isMultiport = (this.#acked & ConsoleFeature.MULTIPORT) !== 0n;
    this.#work = new ConsoleWork({
      ports: isMultiport ? ports : ports.slice(0, 1),
      isMultiport,
      size: () => this.#size,
      log,
      interrupt,
      queues,
      queueEvents,
    });
    this.#interrupt = interrupt;
    // Linux looks at the size when it changes, and not before.
    if (!isMultiport && this.#hasSize) interrupt.signalConfigChanged();
    return this.#work.worker;
  }

  reset(): void {
    this.#acked = 0n;
    this.#interrupt = undefined;
    this.#work = undefined;
  }

  keepFds(): readonly number[] {
    return this.#options.ports.flatMap(({ input, output }) =>
      [input, output.source].flatMap((source) => (source === undefined ? [] : [source.fd])),
    );
  }

  get #hasSize(): boolean {
    return this.#options.ports.some(({ isTerminal }) => isTerminal);
  }
}

export const virtioConsole = defineVirtioDevice({
  name: 'console',
  type: DeviceType.CONSOLE,
  queueSizes: consoleQueueSizes(1, false),
  policy: 'console_device',
  create: (resources: ConsoleResources) => new Console(resources),
});

/** Input devices, VIRTIO 1.1 §5.8: keyboards, mice and touch surfaces whose events come from a source outside. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { QueueServer, type Worker } from '../worker.ts';
import { InputQueue, QUEUE_SIZES } from './constants.ts';
import { EventFrames } from './event-frames.ts';
import { InputConfiguration } from './input-configuration.ts';
import type { InputSource } from './input-source.ts';
import type { InputTable } from './input-table.ts';
import { createInputWorker } from './input-worker.ts';
import { StatusOutput } from './status-output.ts';

/** As many events as crosvm keeps for a guest that takes none. */
const WAITING_EVENTS_MAX = 4096;

export interface InputResources {
  readonly name: string;
  readonly table: InputTable;
  readonly source: InputSource;
  readonly log: Log;
}

export class Input implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.INPUT;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  readonly #configuration: InputConfiguration;
  readonly #source: InputSource;
  readonly #log: Log;
  readonly #frames = new EventFrames({ frameEventsMax: QUEUE_SIZES[0], waitingEventsMax: WAITING_EVENTS_MAX });
  readonly #status: StatusOutput;
  #reportedDrops = 0;
  #hasReportedEnd = false;

  constructor({ name, table, source, log }: InputResources) {
    this.name = name;
    this.#configuration = new InputConfiguration(table);
    this.#source = source;
    this.#status = new StatusOutput(source);
    this.#log = log;
  }

  /** Frames of events that the guest did not get, and status events that the source did not. */
  get dropped(): { readonly frames: number; readonly statusEvents: number } {
    return { frames: this.#frames.dropped, statusEvents: this.#status.dropped };
  }

  features(): bigint {
    return 0n;
  }

  ackFeatures(_bits: bigint): void {}

  readConfig(offset: number, data: Uint8Array): void {
    this.#configuration.read(offset, data);
  }

  writeConfig(offset: number, data: Uint8Array): void {
    this.#configuration.write(offset, data);
  }

  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, events: readonly EventFd[]): Worker {
    const server = (index: number): QueueServer | undefined => {
      const [queue, event] = [queues[index], events[index]];
      assert(event !== undefined, 'an event for every queue');
      return queue && new QueueServer({ queue, event, interrupt });
    };
    return createInputWorker({
      source: this.#source,
      frames: this.#frames,
      status: this.#status,
      eventQueue: server(InputQueue.EVENT),
      statusQueue: server(InputQueue.STATUS),
      onTurn: () => this.#report(),
    });
  }

  reset(): void {
    this.#configuration.reset();
  }

  keepFds(): readonly number[] {
    return this.#source.keepFds();
  }

  #report(): void {
    const drops = this.#frames.dropped + this.#status.dropped;
    if (drops !== this.#reportedDrops) {
      this.#reportedDrops = drops;
      const { frames, statusEvents } = this.dropped;
      this.#log.info(`dropped so far: ${frames} frames of events, ${statusEvents} status events`);
    }
    if (this.#source.end === undefined || this.#hasReportedEnd) return;
    this.#hasReportedEnd = true;
    this.#log.warn(`no more events come: ${this.#source.end}`);
  }
}

export const input = defineVirtioDevice({
  name: 'input',
  type: DeviceType.INPUT,
  queueSizes: QUEUE_SIZES,
  policy: 'input_device',
  create: (resources: InputResources) => new Input(resources),
});

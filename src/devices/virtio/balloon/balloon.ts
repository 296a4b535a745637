/** The traditional memory balloon, VIRTIO 1.1 §5.5: takes memory from the guest and gives it back to the host. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { u64AsNumber, viewOf } from '#util/struct.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { EventWorker, QueueServer, type RequestHandler, type Worker } from '../worker.ts';
import { type GuestStats, StatsQueue } from './balloon-stats.ts';
import { ACTUAL_OFFSET, BalloonConfig, BalloonFeature, PAGE_BYTES, QUEUE_SIZE } from './constants.ts';
import { deflateRequests, InflateRequests, ReportingRequests } from './page-ranges.ts';

/** Inflate, deflate, statistics, reporting: as many as the features have, one after the other. */
const QUEUE_SIZES = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE] as const;

const { STATS_VQ, DEFLATE_ON_OOM, PAGE_REPORTING } = BalloonFeature;

export interface BalloonResources {
  readonly log: Log;
  /** The guest's RAM: a balloon cannot be larger. */
  readonly ramSizeBytes: number;
}

export interface BalloonState {
  /** What the host wants the balloon to be. */
  readonly targetBytes: number;
  /** What it is, as the guest says. */
  readonly actualBytes: number;
  /** Of the how manieth report the statistics are; 0 is none. */
  readonly sequence: number;
  readonly stats: GuestStats;
}

export class Balloon implements VirtioDevice {
  readonly name = 'balloon';
  readonly deviceType = DeviceType.BALLOON;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  configGeneration = 0;
  readonly #log: Log;
  readonly #pagesMax: number;
  #targetPages = 0;
  #actualPages = 0;
  #acked = 0n;
  #interrupt: Interrupt | undefined;
  #stats: StatsQueue | undefined;

  constructor({ log, ramSizeBytes }: BalloonResources) {
    this.#log = log;
    this.#pagesMax = Math.floor(ramSizeBytes / PAGE_BYTES);
  }

  features(): bigint {
    return STATS_VQ | DEFLATE_ON_OOM | PAGE_REPORTING;
  }

  ackFeatures(bits: bigint): void {
    this.#acked = bits;
  }

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(BalloonConfig.encode({ numPages: this.#targetPages, actual: this.#actualPages }), offset, data);
  }

  /** The driver says how large the balloon is; what it says beyond RAM is cut. */
  writeConfig(offset: number, data: Uint8Array): void {
    const image = BalloonConfig.encode({ numPages: this.#targetPages, actual: this.#actualPages });
    if (offset < ACTUAL_OFFSET || offset + data.length > image.length) return;
    image.set(data, offset);
    this.#actualPages = Math.min(BalloonConfig.decode(viewOf(image)).actual, this.#pagesMax);
  }

  /** Sets how much memory the balloon shall hold, at most all RAM; the driver is told and does what it can. */
  adjust(sizeBytes: number): void {
    const pages = Math.min(Math.floor(sizeBytes / PAGE_BYTES), this.#pagesMax);
    if (pages === this.#targetPages) return;
    this.#targetPages = pages;
    this.configGeneration += 1;
    this.#interrupt?.signalConfigChanged();
  }

  /** What is known now; asks the driver for new statistics, which a later call has. */
  state(): BalloonState {
    const { sequence, stats } = this.#stats?.latest ?? { sequence: 0, stats: {} };
    this.#stats?.request();
    return {
      targetBytes: this.#targetPages * PAGE_BYTES,
      actualBytes: this.#actualPages * PAGE_BYTES,
      sequence,
      stats,
    };
  }

  activate(memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    const handlers = this.#handlers(memory);
    const served = handlers.flatMap((handler, index) => {
      const queue = queues[index];
      const event = queueEvents[index];
      assert(event !== undefined, 'an event for every queue');
      if (queue === undefined) return [];
      const server = new QueueServer({ queue, event, interrupt });
      if (handler !== 'stats') return [{ event, serve: () => server.serve(handler) }];
      const stats = new StatsQueue(server);
      this.#stats = stats;
      return [{ event, serve: () => stats.serve() }];
    });
    this.#interrupt = interrupt;
    const sources = served.map(({ event }, index) => [event, index] as const);
    return new EventWorker(u64AsNumber, sources, (index) => served[index]?.serve());
  }

  /** The balloon is gone with the driver: the pages are the guest's again. */
  reset(): void {
    this.#acked = 0n;
    this.#actualPages = 0;
    this.#interrupt = undefined;
    this.#stats = undefined;
  }

  keepFds(): readonly number[] {
    return [];
  }

  /** By queue. Those of features that the driver did not take have no number, and the next has theirs (VIRTIO 1.2 §5.5.2). */
  #handlers(memory: GuestMemory): readonly (RequestHandler | 'stats')[] {
    const always = [new InflateRequests(memory, this.#log), deflateRequests];
    return [
      ...always,
      ...((this.#acked & STATS_VQ) === 0n ? [] : ['stats' as const]),
      ...((this.#acked & PAGE_REPORTING) === 0n ? [] : [new ReportingRequests(memory, this.#log)]),
    ];
  }
}

export const balloon = defineVirtioDevice({
  name: 'balloon',
  type: DeviceType.BALLOON,
  queueSizes: QUEUE_SIZES,
  policy: 'balloon_device',
  create: (resources: BalloonResources) => new Balloon(resources),
});

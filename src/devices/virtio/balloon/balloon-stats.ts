import { viewOf } from '#util/struct.ts';
import type { QueueServer } from '../worker.ts';
import { STAT_NAMES, Stat, type StatName } from './constants.ts';

export type GuestStats = { readonly [Name in StatName]?: number };

/** More than there are tags; what comes after is left out. */
const STATS_MAX = 64;

/** The statistics queue, §5.5.6.3: the driver leaves one buffer with the device, and fills it anew when it gets it back. */
export class StatsQueue {
  readonly #server: QueueServer;
  readonly #bytes = new Uint8Array(STATS_MAX * Stat.size);
  readonly #view = viewOf(this.#bytes);
  /** The chain that lies here. */
  #head: number | undefined;
  /** The driver shall have it back. */
  #isAskedFor = false;
  #stats: GuestStats = {};
  #sequence = 0;

  constructor(server: QueueServer) {
    this.#server = server;
  }

  /** What the guest said last, and the how manieth time that was; 0 is never. */
  get latest(): { readonly sequence: number; readonly stats: GuestStats } {
    return { sequence: this.#sequence, stats: this.#stats };
  }

  /** Gives the buffer back where new numbers were asked for, and takes what the driver gave. A second one at the same time goes back unread. */
  serve(): void {
    const server = this.#server;
    server.takeKick();
    this.#giveBack();
    let left = server.queue.size;
    for (; left > 0 && server.next(); left--) {
      if (this.#head !== undefined) server.queue.addUsed(this.#head, 0);
      this.#head = server.chain.head;
      this.#read(server.reader.read(this.#bytes));
    }
    // There may be more, and the driver was not asked to kick for it.
    if (left === 0) server.event.write();
    server.signal();
  }

  /** Asks for new numbers: the worker's next turn gives the buffer back, which a machine that stands still must not see change. */
  request(): void {
    if (this.#head === undefined) return;
    this.#isAskedFor = true;
    this.#server.event.write();
  }

  #giveBack(): void {
    if (this.#isAskedFor && this.#head !== undefined) {
      this.#server.queue.addUsed(this.#head, 0);
      this.#head = undefined;
    }
    this.#isAskedFor = false;
  }

  #read(sizeBytes: number): void {
    const stats: Partial<Record<StatName, number>> = {};
    for (let at = 0; at + Stat.size <= sizeBytes; at += Stat.size) {
      const { tag, value } = Stat.decode(this.#view, at);
      const name = STAT_NAMES[tag];
      // Linux gives what it does not know as all ones.
      if (name !== undefined && value <= Number.MAX_SAFE_INTEGER) stats[name] = Number(value);
    }
    this.#stats = stats;
    this.#sequence += 1;
  }
}

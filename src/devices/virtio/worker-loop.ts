import { PollContext } from '#poll/poll-context.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { Worker, WorkerHost } from './worker.ts';

/** The workers of one process as one worker: waits for all of them, turns those that have work. */
export class WorkerLoop implements WorkerHost, Worker {
  readonly #poll = new PollContext<number>(u64AsNumber);
  readonly #workers = new Map<number, Worker>();
  #nextToken = 0;

  get fd(): number {
    return this.#poll.fd;
  }

  add(worker: Worker): void {
    const token = this.#nextToken++;
    this.#poll.add(worker, token);
    this.#workers.set(token, worker);
  }

  remove(worker: Worker): void {
    this.#poll.remove(worker);
    for (const [token, each] of this.#workers) {
      if (each === worker) {
        this.#workers.delete(token);
        return;
      }
    }
    assert(false, 'a worker that was added');
  }

  turn(timeoutMs?: number): void {
    const events = this.#poll.wait(timeoutMs);
    // A worker's turn may remove another, for example by resetting its device.
    for (let index = 0; index < events.length; index++) this.#workers.get(events.at(index).token)?.turn(0);
  }

  /** The workers stay their owners'. */
  [Symbol.dispose](): void {
    this.#poll[Symbol.dispose]();
  }
}

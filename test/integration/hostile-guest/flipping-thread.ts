/** A guest's second processor, which changes words of memory all the time. */
import { workerData } from 'node:worker_threads';
import { GuestMemory, type GuestMemoryDescription } from '#memory/guest-memory.ts';

export interface Flipping {
  readonly memory: GuestMemoryDescription;
  /** 1 once the thread is at work, 2 when it is to stop. */
  readonly stop: Int32Array;
  readonly start: number;
  readonly sizeBytes: number;
  /** Every so many bytes the word at `offset` is changed to one of the values after the other. */
  readonly step: number;
  readonly offset: number;
  readonly values: readonly number[];
}

const { memory: description, stop, start, sizeBytes, step, offset, values } = workerData as Flipping;
using memory = GuestMemory.fromFd(description.fd, description.regions);
Atomics.store(stop, 0, 1);
Atomics.notify(stop, 0);
for (let round = 0; Atomics.load(stop, 0) === 1; round++) {
  const value = values[round % values.length] ?? 0;
  for (let at = start; at < start + sizeBytes; at += step) memory.writeU32(at + offset, value);
}

import type { GuestMemory } from '#memory/guest-memory.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import type { Log } from '#util/log.ts';
import type { RequestHandler } from '../worker.ts';
import { PAGE_BYTES } from './constants.ts';

const PFN_BYTES = 4;
/** So many page numbers of a request are taken, 64 MiB of memory; Linux gives 256. What is too much stays where it is. */
const REQUEST_PAGES_MAX = 0x4000;
/** Page numbers that are read at a time. */
const BATCH = 256;

/** Gives pages back to the host. What is asked of it was checked to be RAM; a refusal of the host is logged and costs memory alone. */
class PageReturner {
  readonly #memory: GuestMemory;
  readonly #log: Log;

  constructor(memory: GuestMemory, log: Log) {
    this.#memory = memory;
    this.#log = log;
  }

  /** `offset` is in GuestMemory.whole. */
  give(offset: number, sizeBytes: number): void {
    try {
      this.#memory.discard(offset, sizeBytes);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.#log.error(`${sizeBytes} bytes could not be given back to the host: ${error.message}`);
    }
  }
}

/** Requests of the inflate queue, §5.5.6: numbers of pages that the guest does not use from now on. */
export class InflateRequests implements RequestHandler {
  readonly #memory: GuestMemory;
  readonly #log: Log;
  readonly #returner: PageReturner;
  readonly #batch = new Uint8Array(BATCH * PFN_BYTES);
  readonly #numbers = new DataView(this.#batch.buffer);
  /** Neighbours that came one after the other, in either direction, as offsets in RAM: one call gives them back. */
  #start = 0;
  #end = 0;

  constructor(memory: GuestMemory, log: Log) {
    this.#memory = memory;
    this.#log = log;
    this.#returner = new PageReturner(memory, log);
  }

  handle(...[, reader]: Parameters<RequestHandler['handle']>): number {
    let left = REQUEST_PAGES_MAX;
    while (left > 0) {
      // A number that is not whole is none.
      const count = Math.trunc(reader.read(this.#batch) / PFN_BYTES);
      if (count === 0) break;
      for (let index = 0; index < count; index++) this.#take(this.#numbers.getUint32(index * PFN_BYTES, true));
      left -= count;
    }
    this.#flush();
    if (reader.remaining >= PFN_BYTES)
      this.#log.warn(`the driver gives more than ${REQUEST_PAGES_MAX} pages at once: the rest is not taken`);
    return 0;
  }

  #take(pageNumber: number): void {
    const offset = this.#memory.offsetOf(pageNumber * PAGE_BYTES, PAGE_BYTES);
    if (offset < 0) {
      this.#log.warn(`the driver gives page 0x${pageNumber.toString(16)}, which is no RAM`);
    } else if (offset === this.#end) {
      this.#end += PAGE_BYTES;
    } else if (offset === this.#start - PAGE_BYTES && this.#end > this.#start) {
      this.#start = offset;
    } else {
      this.#flush();
      this.#start = offset;
      this.#end = offset + PAGE_BYTES;
    }
  }

  #flush(): void {
    if (this.#end > this.#start) this.#returner.give(this.#start, this.#end - this.#start);
    this.#start = 0;
    this.#end = 0;
  }
}

/** Requests of the reporting queue, VIRTIO 1.2 §5.5.6.7: free memory, as the buffers themselves; their content need not stay. */
export class ReportingRequests implements RequestHandler {
  readonly #returner: PageReturner;

  constructor(memory: GuestMemory, log: Log) {
    this.#returner = new PageReturner(memory, log);
  }

  handle(...[chain]: Parameters<RequestHandler['handle']>): number {
    for (let index = chain.readableCount; index < chain.count; index++) {
      const from = chain.offsets[index] as number;
      const start = Math.ceil(from / PAGE_BYTES) * PAGE_BYTES;
      const end = Math.floor((from + (chain.sizes[index] as number)) / PAGE_BYTES) * PAGE_BYTES;
      if (end > start) this.#returner.give(start, end - start);
    }
    return 0;
  }
}

/** Requests of the deflate queue: the pages come back when the guest touches them, so there is nothing to do. */
export const deflateRequests: RequestHandler = { handle: () => 0 };

import type { ChainReader } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { RequestHandler } from '../worker.ts';
import { InputEvent } from './constants.ts';
import type { InputSource } from './input-source.ts';

const RECORD_BYTES = InputEvent.size;
/** Events that wait for a peer which does not read: more are dropped, whole. */
const WAITING_BYTES_MAX = 64 * RECORD_BYTES;
/** Events of one chain; Linux sends one. */
const CHAIN_EVENTS_MAX = 64;

/** Status events, such as those of the lights of a keyboard, on their way from the guest to the source. */
export class StatusOutput implements RequestHandler {
  /** Events that the source did not take. */
  dropped = 0;
  readonly #source: InputSource;
  readonly #record = new Uint8Array(RECORD_BYTES);
  readonly #waiting = new Uint8Array(WAITING_BYTES_MAX);
  #waitingBytes = 0;

  constructor(source: InputSource) {
    this.#source = source;
  }

  /** Something waits for the source to take it. */
  get isBlocked(): boolean {
    return this.#waitingBytes > 0;
  }

  /** Parts of events at the end of a chain are nothing. */
  handle(_chain: DescriptorChain, reader: ChainReader): number {
    for (let count = 0; count < CHAIN_EVENTS_MAX && reader.remaining >= RECORD_BYTES; count++) {
      reader.read(this.#record);
      this.#push();
    }
    this.flush();
    return 0;
  }

  /** Sends what waits, as far as it is taken. */
  flush(): void {
    if (this.#waitingBytes > 0) {
      const sent = this.#source.write(this.#waiting, this.#waitingBytes);
      this.#waiting.copyWithin(0, sent, this.#waitingBytes);
      this.#waitingBytes -= sent;
    }
    if (this.#source.end !== undefined) this.#waitingBytes = 0;
  }

  #push(): void {
    if (this.#source.end !== undefined || this.#waitingBytes + RECORD_BYTES > WAITING_BYTES_MAX) {
      this.dropped += 1;
      return;
    }
    this.#waiting.set(this.#record, this.#waitingBytes);
    this.#waitingBytes += RECORD_BYTES;
  }
}

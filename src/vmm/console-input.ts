import type { SerialInput } from '#arch/x86_64/board.ts';
import { EscapeFilter } from './escape-filter.ts';

const CHUNK_BYTES = 4096;
/** Typed ahead while the guest does not read: a terminal's input beyond this is dropped, so that Ctrl-A x always works. */
const TYPE_AHEAD_BYTES = 1 << 20;

export interface ConsoleInputOptions {
  /** Reads what there is into `target`: the count, 0 at the end, undefined when there is nothing now. */
  readonly read: (target: Uint8Array) => number | undefined;
  readonly port: Pick<SerialInput, 'enqueue'>;
  /** Ctrl-A x leaves, and the source is read even when the guest takes nothing. */
  readonly isTerminal: boolean;
}

/** Feeds input to a port as it can take it: nothing of a pipe or file is lost, however slow the guest. */
export class ConsoleInput {
  readonly #options: ConsoleInputOptions;
  readonly #filter: EscapeFilter | undefined;
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  /** What the port has not taken yet. */
  #waiting: Uint8Array = new Uint8Array(0);
  #ended = false;
  /** The port was busy when it was to take what waits: to be tried again soon. */
  isHeldUp = false;

  constructor(options: ConsoleInputOptions) {
    this.#options = options;
    this.#filter = options.isTerminal ? new EscapeFilter(CHUNK_BYTES) : undefined;
  }

  /** Whether more may be read: not while bytes wait, unless from a terminal, and not after the end. */
  get wantsMore(): boolean {
    if (this.#ended) return false;
    return this.#options.isTerminal || this.#waiting.length === 0;
  }

  /** Whether bytes wait for room in the port. */
  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Reads once; true when the user asked to leave. */
  read(): boolean {
    const count = this.#options.read(this.#chunk);
    if (count === undefined) return false;
    if (count === 0) {
      this.#ended = true;
      return false;
    }
    const read = this.#chunk.subarray(0, count);
    const { bytes, leave } = this.#filter === undefined ? { bytes: read, leave: false } : this.#filter.push(read);
    if (this.#waiting.length + bytes.length <= TYPE_AHEAD_BYTES) this.#waiting = Buffer.concat([this.#waiting, bytes]);
    this.deliver();
    return leave;
  }

  /** Gives the port what waits, as far as it has room. */
  deliver(): void {
    this.isHeldUp = false;
    while (this.#waiting.length > 0) {
      const count = this.#options.port.enqueue(this.#waiting);
      this.isHeldUp = count === undefined;
      if (count === undefined || count === 0) return;
      this.#waiting = this.#waiting.subarray(count);
    }
  }
}

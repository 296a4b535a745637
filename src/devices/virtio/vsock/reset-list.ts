/** Answers of RST that wait for a buffer of the guest. They have no connection that could keep them. */
import { TYPE_STREAM } from './constants.ts';

/** Whom an RST goes to: the fields of its header. The destination is always the guest. */
export interface ResetFields {
  srcCid: number;
  srcPort: number;
  dstPort: number;
  type: number;
}

/** A queue that grows as needed and is used again and again; who fills it sees to its length. */
export class ResetList {
  #entries: ResetFields[] = [];
  #first = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(srcCid: number, srcPort: number, dstPort: number, type: number = TYPE_STREAM): void {
    if (this.#length === this.#entries.length) this.#grow();
    const entry = this.#entries[(this.#first + this.#length) % this.#entries.length]!;
    entry.srcCid = srcCid;
    entry.srcPort = srcPort;
    entry.dstPort = dstPort;
    entry.type = type;
    this.#length += 1;
  }

  /** The oldest, until the next `push`; undefined when there is none. */
  take(): Readonly<ResetFields> | undefined {
    if (this.#length === 0) return undefined;
    const entry = this.#entries[this.#first];
    this.#first = (this.#first + 1) % this.#entries.length;
    this.#length -= 1;
    return entry;
  }

  #grow(): void {
    const inOrder = [...this.#entries.slice(this.#first), ...this.#entries.slice(0, this.#first)];
    const added = Math.max(16, inOrder.length);
    const fresh = Array.from({ length: added }, () => ({ srcCid: 0, srcPort: 0, dstPort: 0, type: 0 }));
    this.#entries = [...inOrder, ...fresh];
    this.#first = 0;
  }
}

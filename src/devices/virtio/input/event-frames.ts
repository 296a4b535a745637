import { viewOf } from '#util/struct.ts';
import { EventType, InputEvent, SYN_REPORT } from './constants.ts';

const RECORD_BYTES = InputEvent.size;
const FIELD = InputEvent.fields;

export interface EventFramesLimits {
  /** Events of one frame, SYN_REPORT among them: a longer one is dropped. */
  readonly frameEventsMax: number;
  /** Events that wait. A frame that comes when there is no room for it is dropped. */
  readonly waitingEventsMax: number;
}

/**
 * Events of an input source put together to frames, each of which ends with SYN_REPORT: the guest gets all of a frame or nothing of it,
 * as §5.8.6.2 asks. Bytes come in pieces of any size. What is held is bounded, whoever the source is.
 */
export class EventFrames {
  /** Frames that were dropped. */
  dropped = 0;
  readonly #limits: EventFramesLimits;
  /** The events of whole frames, a ring; then the sizes of the frames, another one. */
  readonly #ring: Uint8Array;
  readonly #sizes: Uint16Array;
  #first = 0;
  #waiting = 0;
  #firstSize = 0;
  #frames = 0;
  /** The frame that has begun, and how many bytes of it there are. */
  readonly #frame: Uint8Array;
  readonly #frameView: DataView;
  #frameBytes = 0;
  /** The frame that has begun is too long: only its end counts. */
  #isTooLong = false;

  constructor(limits: EventFramesLimits) {
    this.#limits = limits;
    this.#ring = new Uint8Array(limits.waitingEventsMax * RECORD_BYTES);
    this.#sizes = new Uint16Array(limits.waitingEventsMax);
    this.#frame = new Uint8Array(limits.frameEventsMax * RECORD_BYTES);
    this.#frameView = viewOf(this.#frame);
  }

  /** How many events the oldest frame has; 0 when none waits. */
  get nextSize(): number {
    return this.#frames === 0 ? 0 : this.#sizes[this.#firstSize]!;
  }

  /** Takes the first `sizeBytes` of `data`. */
  push(data: Uint8Array, sizeBytes: number): void {
    for (let index = 0; index < sizeBytes; index++) {
      this.#frame[this.#frameBytes] = data[index]!;
      this.#frameBytes += 1;
      if (this.#frameBytes % RECORD_BYTES === 0) this.#endRecord();
    }
  }

  /** Copies event `index` of the oldest frame, 8 bytes, into `target`. */
  copyEvent(index: number, target: Uint8Array): void {
    const from = ((this.#first + index) % this.#limits.waitingEventsMax) * RECORD_BYTES;
    for (let byte = 0; byte < RECORD_BYTES; byte++) target[byte] = this.#ring[from + byte]!;
  }

  /** The oldest frame is done. */
  shift(): void {
    const size = this.nextSize;
    this.#first = (this.#first + size) % this.#limits.waitingEventsMax;
    this.#waiting -= size;
    this.#firstSize = (this.#firstSize + 1) % this.#sizes.length;
    this.#frames -= 1;
  }

  /** The guest cannot take the oldest frame. */
  dropNext(): void {
    this.shift();
    this.dropped += 1;
  }

  /** The source has ended: what has begun never will. */
  endSource(): void {
    if (this.#frameBytes > 0 || this.#isTooLong) this.dropped += 1;
    this.#frameBytes = 0;
    this.#isTooLong = false;
  }

  #endRecord(): void {
    const at = this.#frameBytes - RECORD_BYTES;
    const type = this.#frameView.getUint16(at + FIELD.type.offset, true);
    const code = this.#frameView.getUint16(at + FIELD.code.offset, true);
    if (type === EventType.SYN && code === SYN_REPORT) this.#endFrame();
    else if (this.#isTooLong) this.#frameBytes = 0;
    else if (this.#frameBytes === this.#frame.length) {
      this.#isTooLong = true;
      this.#frameBytes = 0;
    }
  }

  #endFrame(): void {
    const size = this.#frameBytes / RECORD_BYTES;
    this.#frameBytes = 0;
    if (this.#isTooLong || this.#waiting + size > this.#limits.waitingEventsMax) {
      this.#isTooLong = false;
      this.dropped += 1;
      return;
    }
    for (let index = 0; index < size; index++) {
      const to = ((this.#first + this.#waiting + index) % this.#limits.waitingEventsMax) * RECORD_BYTES;
      for (let byte = 0; byte < RECORD_BYTES; byte++) this.#ring[to + byte] = this.#frame[index * RECORD_BYTES + byte]!;
    }
    this.#sizes[(this.#firstSize + this.#frames) % this.#sizes.length] = size;
    this.#frames += 1;
    this.#waiting += size;
  }
}

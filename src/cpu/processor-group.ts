/**
 * What processors over the same memory owe each other: code that one has decoded is decoded anew when another has changed it, and
 * some operations are done by one while no other runs guest code. The words are shared; each processor's thread has an object of
 * its own over them.
 *
 * Of each page of memory a word tells which processors have decoded code of it and which may write it without telling. Who decodes
 * the first code of a page first has the others give up writing it unseen; who then writes it has those look whose decoded chunks
 * are touched. Both wait until the others have done it, or have stopped and will do it before they run on.
 */
import { assert } from '#util/assert.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import { CODE_CHUNK_SHIFT } from './layout.ts';
import type { WideLocks } from './locked-access.ts';

/** A page's word has half of its bits for each of two sets of processors. */
export const PROCESSORS_MAX = 16;
const OWNERS = 0xffff;
const WRITERS_SHIFT = 16;

const PAGE_SHIFT = 12;
const CHUNK_WORDS_PER_PAGE = 2;

/** Requests that may wait for one processor; when there are more it looks at everything. */
const RING_SIZE = 256;

const WORD = {
  MUTEX: 0,
  /** Not 0 while a processor is alone. */
  STOP: 1,
  PROCESSORS: 16,
} as const;

/** Words of one processor, in cache lines of their own. */
const PROCESSOR = {
  /** 1 while it runs guest code. */
  RUNNING: 0,
  /** Requests made and done, modulo 2^32. */
  PUSHED: 1,
  DONE: 2,
  /** 1 when a request found no room. */
  OVERFLOW: 3,
  /** Changed for the sake of the fence that an atomic operation is, in a cache line that nobody else looks at. */
  FENCE: 16,
  /** Numbers of pages. */
  RING: 32,
  WORDS: 32 + RING_SIZE,
} as const;

/** Looks before a thread goes to sleep: those it waits for look within some microseconds, if they have a core. */
const SPINS = 300;
/** A sleep ends by itself after this, for who wakes it may have looked a moment too early. */
const SLEEP_MS = 1;

export interface ProcessorGroupOptions {
  readonly index: number;
  readonly count: number;
  /** Bytes of memory, RAM and room for regions. */
  readonly memoryBytes: number;
  /** See WideLocks. */
  readonly compareExchange16: WideLocks['compareExchange16'];
}

/** What a processor does for others, between instructions or in one that has the code after it looked up. */
export interface GroupMember {
  /** Gives up writing this physical page unseen, and forgets code of it that is another now. */
  pageTouched(page: number): void;
  /** The same for all pages. */
  allTouched(): void;
}

export class ProcessorGroup implements WideLocks {
  readonly compareExchange16: WideLocks['compareExchange16'];
  readonly #words: Int32Array;
  readonly #mutex: SharedMutex;
  readonly #index: number;
  readonly #count: number;
  readonly #own: number;
  readonly #pages: number;
  readonly #chunks: number;
  readonly #pageCount: number;
  #member: GroupMember | undefined;
  #isAlone = false;
  /** Guest code runs, but for waits inside an instruction. */
  #isInside = false;
  /** Requests made of others, for statistics. */
  requests = 0;

  static words(count: number, memoryBytes: number): number {
    const pageCount = Math.ceil(memoryBytes / 2 ** PAGE_SHIFT);
    return WORD.PROCESSORS + count * PROCESSOR.WORDS + pageCount * (1 + CHUNK_WORDS_PER_PAGE * count);
  }

  constructor(words: Int32Array, { index, count, memoryBytes, compareExchange16 }: ProcessorGroupOptions) {
    assert(count <= PROCESSORS_MAX && index < count, 'a processor of the group');
    assert(words.length >= ProcessorGroup.words(count, memoryBytes), 'enough words');
    this.#words = words;
    this.#mutex = new SharedMutex(words, WORD.MUTEX);
    this.#index = index;
    this.#count = count;
    this.#own = processorAt(index);
    this.#pageCount = Math.ceil(memoryBytes / 2 ** PAGE_SHIFT);
    this.#pages = processorAt(count);
    this.#chunks = this.#pages + this.#pageCount;
    this.compareExchange16 = compareExchange16;
  }

  /** Who does what others ask of this processor. */
  join(member: GroupMember): void {
    this.#member = member;
  }

  // ---- Running and standing ----

  /** Guest code runs from now on; waits while another processor is alone. */
  enter(): void {
    this.#isInside = true;
    this.#goOn();
  }

  /** No guest code runs until the next `enter`. */
  leave(): void {
    this.#stand();
    this.#isInside = false;
  }

  /** Whether `poll` has something to do. */
  get isWanted(): boolean {
    const words = this.#words;
    const own = this.#own;
    return (
      Atomics.load(words, own + PROCESSOR.PUSHED) !== words[own + PROCESSOR.DONE] ||
      Atomics.load(words, WORD.STOP) !== 0
    );
  }

  /** Between instructions, every few microseconds. */
  poll(): void {
    if (!this.isWanted) return;
    this.#stand();
    this.#goOn();
  }

  /** What has been stored can be seen by all before anything is loaded from here on. */
  fence(): void {
    Atomics.add(this.#words, this.#own + PROCESSOR.FENCE, 0);
  }

  alone(action: () => void): void {
    if (this.#isAlone) {
      action();
      return;
    }
    this.#request(() => {
      Atomics.store(this.#words, WORD.STOP, 1);
      for (let other = 0; other < this.#count; other++) if (other !== this.#index) this.#waitUntilStanding(other);
      this.#isAlone = true;
      try {
        action();
      } finally {
        this.#isAlone = false;
        Atomics.store(this.#words, WORD.STOP, 0);
        Atomics.notify(this.#words, WORD.STOP);
      }
    });
  }

  // ---- Pages ----

  /** Whether this processor may write a physical page without telling from now on: nobody has decoded code of it. */
  mayWriteUnseen(page: number): boolean {
    const at = this.#pages + pageNumber(page);
    const bit = 1 << (WRITERS_SHIFT + this.#index);
    const before = Atomics.load(this.#words, at);
    if ((before & OWNERS) !== 0) return false;
    return (before & bit) !== 0 || (Atomics.or(this.#words, at, bit) & OWNERS) === 0;
  }

  /** Whether another processor has decoded code of a physical page. */
  othersHaveCode(page: number): boolean {
    return (Atomics.load(this.#words, this.#pages + pageNumber(page)) & OWNERS & ~(1 << this.#index)) !== 0;
  }

  /** This processor is about to decode code of a page: when it returns nobody writes the page unseen. May have the member do things. */
  claim(page: number): void {
    const before = Atomics.or(this.#words, this.#pages + pageNumber(page), 1 << this.#index);
    const writers = (before >>> WRITERS_SHIFT) & ~(1 << this.#index);
    if (writers !== 0) this.#ask(writers, page);
  }

  /** It has forgotten all code of the page. */
  release(page: number): void {
    const at = pageNumber(page);
    for (let word = 0; word < CHUNK_WORDS_PER_PAGE; word++)
      Atomics.store(this.#words, this.#chunksOf(this.#index, at) + word, 0);
    Atomics.and(this.#words, this.#pages + at, ~(1 << this.#index));
  }

  /** It is about to decode bytes of a page that it has claimed; offsets in the page, `to` is one past the last. */
  reads(page: number, from: number, to: number): void {
    const at = this.#chunksOf(this.#index, pageNumber(page));
    for (let chunk = from >> CODE_CHUNK_SHIFT; chunk <= (to - 1) >> CODE_CHUNK_SHIFT; chunk++) {
      const word = at + (chunk >> 5);
      const bit = 1 << (chunk & 31);
      if (((this.#words[word] as number) & bit) === 0) Atomics.or(this.#words, word, bit);
    }
  }

  /** It has written bytes inside a page. When this returns nobody runs code that was decoded from what they were. */
  wrote(page: number, from: number, to: number): void {
    this.fence();
    const number = pageNumber(page);
    const owners = Atomics.load(this.#words, this.#pages + number) & OWNERS & ~(1 << this.#index);
    if (owners === 0) return;
    let touched = 0;
    for (let other = 0; other < this.#count; other++) {
      if ((owners & (1 << other)) !== 0 && this.#hasDecoded(other, number, from, to)) touched |= 1 << other;
    }
    if (touched !== 0) this.#ask(touched, page);
  }

  #hasDecoded(other: number, number: number, from: number, to: number): boolean {
    const at = this.#chunksOf(other, number);
    for (let chunk = from >> CODE_CHUNK_SHIFT; chunk <= (to - 1) >> CODE_CHUNK_SHIFT; chunk++) {
      if ((Atomics.load(this.#words, at + (chunk >> 5)) & (1 << (chunk & 31))) !== 0) return true;
    }
    return false;
  }

  #chunksOf(processor: number, number: number): number {
    return this.#chunks + (processor * this.#pageCount + number) * CHUNK_WORDS_PER_PAGE;
  }

  // ---- Requests ----

  /** Has a set of others look at a page, and waits until they have or stand still. */
  #ask(others: number, page: number): void {
    const number = pageNumber(page);
    if (this.#isAlone) {
      this.#push(others, number);
      return;
    }
    this.#request(() => {
      this.#push(others, number);
      for (let other = 0; other < this.#count; other++) if ((others & (1 << other)) !== 0) this.#waitUntilDone(other);
    });
  }

  /** Who makes a request stands still itself: nobody waits for it, and it does what it was asked before it goes on. */
  #request(action: () => void): void {
    this.requests++;
    if (this.#isInside) this.#stand();
    this.#mutex.lock();
    try {
      action();
    } finally {
      this.#mutex.unlock();
      if (this.#isInside) this.#goOn();
    }
  }

  #push(others: number, number: number): void {
    const words = this.#words;
    for (let other = 0; other < this.#count; other++) {
      if ((others & (1 << other)) === 0) continue;
      const at = processorAt(other);
      const pushed = words[at + PROCESSOR.PUSHED] as number;
      if (((pushed - Atomics.load(words, at + PROCESSOR.DONE)) | 0) >= RING_SIZE)
        Atomics.store(words, at + PROCESSOR.OVERFLOW, 1);
      else Atomics.store(words, at + PROCESSOR.RING + (pushed & (RING_SIZE - 1)), number);
      Atomics.store(words, at + PROCESSOR.PUSHED, (pushed + 1) | 0);
    }
  }

  #waitUntilDone(other: number): void {
    const words = this.#words;
    const at = processorAt(other);
    this.#wait(other, () => words[at + PROCESSOR.PUSHED] === Atomics.load(words, at + PROCESSOR.DONE));
  }

  #waitUntilStanding(other: number): void {
    this.#wait(other, () => false);
  }

  #wait(other: number, isDone: () => boolean): void {
    const words = this.#words;
    const at = processorAt(other);
    for (let looks = 0; ; looks++) {
      const done = Atomics.load(words, at + PROCESSOR.DONE);
      if (Atomics.load(words, at + PROCESSOR.RUNNING) === 0 || isDone()) return;
      if (looks > SPINS) Atomics.wait(words, at + PROCESSOR.DONE, done, SLEEP_MS);
    }
  }

  #stand(): void {
    const words = this.#words;
    const own = this.#own;
    Atomics.store(words, own + PROCESSOR.RUNNING, 0);
    if (this.isWanted) Atomics.notify(words, own + PROCESSOR.DONE);
  }

  #goOn(): void {
    const words = this.#words;
    for (;;) {
      Atomics.store(words, this.#own + PROCESSOR.RUNNING, 1);
      if (this.#isAlone || Atomics.load(words, WORD.STOP) === 0) break;
      this.#stand();
      Atomics.wait(words, WORD.STOP, 1, SLEEP_MS);
    }
    this.#doRequests();
  }

  #doRequests(): void {
    const words = this.#words;
    const own = this.#own;
    for (;;) {
      const pushed = Atomics.load(words, own + PROCESSOR.PUSHED);
      const done = words[own + PROCESSOR.DONE] as number;
      if (pushed === done) return;
      if (Atomics.exchange(words, own + PROCESSOR.OVERFLOW, 0) !== 0) {
        this.#member?.allTouched();
        this.#finish(pushed);
        continue;
      }
      const number = Atomics.load(words, own + PROCESSOR.RING + (done & (RING_SIZE - 1)));
      Atomics.and(words, this.#pages + number, ~(1 << (WRITERS_SHIFT + this.#index)));
      this.#member?.pageTouched(number * 2 ** PAGE_SHIFT);
      this.#finish((done + 1) | 0);
    }
  }

  #finish(done: number): void {
    Atomics.store(this.#words, this.#own + PROCESSOR.DONE, done);
    Atomics.notify(this.#words, this.#own + PROCESSOR.DONE);
  }
}

const processorAt = (index: number): number => WORD.PROCESSORS + index * PROCESSOR.WORDS;
const pageNumber = (page: number): number => Math.floor(page / 2 ** PAGE_SHIFT);

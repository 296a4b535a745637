import type { ExitReason } from './exit-codes.ts';

/** How a machine can end, in the order of the values in shared memory; 0 means that it runs. */
const OUTCOMES = ['power-off', 'reset', 'crash', 'host-error', 'debug-exit'] as const satisfies readonly ExitReason[];
export type Outcome = (typeof OUTCOMES)[number];

/** The word OUTCOME: which it is, and above that the value that the guest gave with it. */
const OUTCOME_BITS = 8;
const OUTCOME_MASK = (1 << OUTCOME_BITS) - 1;

const WORD = { OUTCOME: 0, PANICKED: 1, WISH: 2, STANDING: 3, BEGUN: 4, BELL: 5 } as const;
const WORD_COUNT = 6;

/** What the main thread wants of the vCPUs' threads; a number above 0 is the standstill of that number. */
const WISH = { RUN: 0, END: -1 } as const;
const STANDSTILL_MAX = 0x7f_ffff;
/** The word STANDING: a standstill's number, and how many stand still in it. */
const COUNT_BITS = 8;
const COUNT_MASK = (1 << COUNT_BITS) - 1;

/** What the threads of one machine tell each other beside its devices: words in shared memory. */
export class RunState {
  readonly words: Int32Array;

  /** Over the words of another thread's RunState, or new ones. */
  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(WORD_COUNT * Int32Array.BYTES_PER_ELEMENT))) {
    this.words = words;
  }

  /** The first to say how the machine ends is right; tells whether this caller was the first. */
  end(outcome: Outcome, value = 0): boolean {
    const word = (value << OUTCOME_BITS) | (OUTCOMES.indexOf(outcome) + 1);
    return Atomics.compareExchange(this.words, WORD.OUTCOME, 0, word) === 0;
  }

  get outcome(): Outcome | undefined {
    return OUTCOMES[(Atomics.load(this.words, WORD.OUTCOME) & OUTCOME_MASK) - 1];
  }

  /** What the guest gave with `debug-exit`: a byte. */
  get exitValue(): number {
    return Atomics.load(this.words, WORD.OUTCOME) >>> OUTCOME_BITS;
  }

  /** The guest's kernel said on its console that it panicked. */
  notePanic(): void {
    Atomics.store(this.words, WORD.PANICKED, 1);
  }

  get panicked(): boolean {
    return Atomics.load(this.words, WORD.PANICKED) !== 0;
  }

  /** The main thread lets the guest begin, or the threads end without it. */
  begin(): void {
    Atomics.store(this.words, WORD.BEGUN, 1);
    Atomics.notify(this.words, WORD.BEGUN);
  }

  /** For a vCPU's thread: waits for `begin`. */
  waitForBegin(): void {
    while (Atomics.load(this.words, WORD.BEGUN) === 0) Atomics.wait(this.words, WORD.BEGUN, 0);
  }

  /** The main thread wants the vCPUs to stand still. They look when they are kicked. */
  askStandstill(): void {
    const before = Atomics.load(this.words, WORD.STANDING) >>> COUNT_BITS;
    const number = (before % STANDSTILL_MAX) + 1;
    Atomics.store(this.words, WORD.STANDING, number << COUNT_BITS);
    this.#wish(number);
  }

  /** It wants them to run on. */
  askRun(): void {
    this.#wish(WISH.RUN);
  }

  /** It wants their threads to end. */
  askEnd(): void {
    this.#wish(WISH.END);
  }

  get wantsStandstill(): boolean {
    return Atomics.load(this.words, WORD.WISH) > WISH.RUN;
  }

  get wantsEnd(): boolean {
    return this.outcome !== undefined || Atomics.load(this.words, WORD.WISH) === WISH.END;
  }

  /** How many vCPUs stand still as was asked last. */
  get standing(): number {
    return Atomics.load(this.words, WORD.STANDING) & COUNT_MASK;
  }

  /**
   * For a vCPU's thread: stands still for as long as that is wanted. `onStanding` is called once it counts as standing, and `onBell` then and
   * whenever somebody rings.
   */
  standStill(onStanding: () => void, onBell?: () => void): void {
    const number = Atomics.load(this.words, WORD.WISH);
    if (number <= WISH.RUN || !this.#count(number)) return;
    onStanding();
    this.#waitWhile(() => Atomics.load(this.words, WORD.WISH) === number, onBell);
  }

  /** For a vCPU's thread that is not to run: waits until something else is wanted. */
  waitForWish(): void {
    this.#waitWhile(() => Atomics.load(this.words, WORD.WISH) === WISH.RUN && this.outcome === undefined);
  }

  /** Wakes the threads that stand still: one of them is asked for something. */
  ring(): void {
    Atomics.add(this.words, WORD.BELL, 1);
    Atomics.notify(this.words, WORD.BELL);
  }

  /** The bell is looked at first: what changes later rings again. */
  #waitWhile(isToWait: () => boolean, onBell?: () => void): void {
    for (;;) {
      const bell = Atomics.load(this.words, WORD.BELL);
      if (!isToWait()) return;
      onBell?.();
      Atomics.wait(this.words, WORD.BELL, bell);
    }
  }

  #wish(wish: number): void {
    Atomics.store(this.words, WORD.WISH, wish);
    this.ring();
  }

  /** False when another standstill has been asked for meanwhile: who is late must not count as standing in that one. */
  #count(number: number): boolean {
    for (;;) {
      const word = Atomics.load(this.words, WORD.STANDING);
      if (word >>> COUNT_BITS !== number) return false;
      if (Atomics.compareExchange(this.words, WORD.STANDING, word, word + 1) === word) return true;
    }
  }
}

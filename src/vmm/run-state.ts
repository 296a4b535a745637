import type { ExitReason } from './exit-codes.ts';

/** How a machine can end, in the order of the values in shared memory; 0 means that it runs. */
const OUTCOMES = ['power-off', 'reset', 'crash', 'host-error'] as const satisfies readonly ExitReason[];
export type Outcome = (typeof OUTCOMES)[number];

const WORD = { OUTCOME: 0, PANICKED: 1 } as const;
const WORD_COUNT = 2;

/** What the threads of one machine tell each other beside its devices: words in shared memory. */
export class RunState {
  readonly words: Int32Array;

  /** Over the words of another thread's RunState, or new ones. */
  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(WORD_COUNT * Int32Array.BYTES_PER_ELEMENT))) {
    this.words = words;
  }

  /** The first to say how the machine ends is right; tells whether this caller was the first. */
  end(outcome: Outcome): boolean {
    return Atomics.compareExchange(this.words, WORD.OUTCOME, 0, OUTCOMES.indexOf(outcome) + 1) === 0;
  }

  get outcome(): Outcome | undefined {
    return OUTCOMES[Atomics.load(this.words, WORD.OUTCOME) - 1];
  }

  /** The guest's kernel said on its console that it panicked. */
  notePanic(): void {
    Atomics.store(this.words, WORD.PANICKED, 1);
  }

  get panicked(): boolean {
    return Atomics.load(this.words, WORD.PANICKED) !== 0;
  }
}

/** Where the time of a start goes, `--trace-start`. */

interface Mark {
  readonly what: string;
  readonly atMs: number;
}

/** Notes when each step ends; costs a few hundred nanoseconds a step, and nothing where there is no trace. */
export class StartTrace {
  readonly #marks: Mark[] = [];
  readonly #nowMs: () => number;

  /** `nowMs` counts from the start of this process, as `performance.now` does. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** This has just been done. */
  mark(what: string): void {
    this.#marks.push({ what, atMs: this.#nowMs() });
  }

  /** A line for each step: when it ended, in milliseconds from the start of the process, and how long after the one before. */
  lines(): string[] {
    let beforeMs = 0;
    return this.#marks.map(({ what, atMs }) => {
      const line = `start: ${atMs.toFixed(1).padStart(8)} ms ${`+${(atMs - beforeMs).toFixed(1)}`.padStart(8)}  ${what}`;
      beforeMs = atMs;
      return line;
    });
  }
}

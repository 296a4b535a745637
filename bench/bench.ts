/** One measurement that `npm run bench -- NAME` runs. Prints its result and returns the exit status. */
export interface Bench {
  readonly name: string;
  readonly describe: string;
  readonly run: (parameters: string[]) => Promise<number>;
}

/** A mistake on a bench's command line. */
export class BenchUsageError extends Error {
  override readonly name = 'BenchUsageError';
}

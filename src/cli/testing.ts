import type { CliIo } from './io.ts';

/** Collects what a command writes; for tests. */
export class RecordedIo implements CliIo {
  stdout = '';
  stderr = '';

  out(text: string): void {
    this.stdout += text;
  }

  err(text: string): void {
    this.stderr += text;
  }
}

/** Standard output that fails with `error`; standard error is recorded. */
export class BrokenOutput extends RecordedIo {
  readonly #error: Error;

  constructor(error: Error) {
    super();
    this.#error = error;
  }

  override out(): void {
    throw this.#error;
  }
}

/**
 * An operating error: something outside this program is not as it has to be. `code` is stable, in capitals, for programs;
 * the message is for people. Mistakes of the program itself are AssertionErrors (assert.ts).
 */
export class CodedError<Code extends string = string> extends Error {
  override readonly name: string = 'CodedError';
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The text of anything that was thrown. */
export function errorMessage(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** A failure to make the guest's files that its user can act on: the message says what is needed. */
export class GuestFilesError extends Error {
  override readonly name = 'GuestFilesError';
  /** Trying another way is of no use: a program of the host is missing. */
  readonly missingProgram: boolean;

  constructor(message: string, options: { readonly missingProgram?: boolean } = {}) {
    super(message);
    this.missingProgram = options.missingProgram ?? false;
  }
}

/** Receives one line, without its end, about what is going on. */
export type Progress = (line: string) => void;

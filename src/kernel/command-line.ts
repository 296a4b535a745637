import { CodedError } from '#util/errors.ts';

export type CommandLineErrorCode = 'CMDLINE_TOO_LONG' | 'CMDLINE_INVALID_CHARACTER' | 'CMDLINE_INVALID_KEY';

/** Text that a kernel command line cannot take. The message is one line. */
export class CommandLineError extends CodedError<CommandLineErrorCode> {
  override readonly name = 'CommandLineError';
}

/** Printable ASCII: Linux splits at blanks and ends at NUL; a line break would forge a line in its log. */
const INVALID = /[^\x20-\x7e]/u;

function checkCharacters(text: string): void {
  const match = INVALID.exec(text);
  if (!match) return;
  const character = `U+${(match[0].codePointAt(0) as number).toString(16).toUpperCase().padStart(4, '0')}`;
  const problem = `character ${character} at position ${match.index}: only printable ASCII is allowed`;
  throw new CommandLineError('CMDLINE_INVALID_CHARACTER', `kernel command line: ${problem}`);
}

/** The kernel command line as it grows part by part. Nothing is added when a part is refused. */
export class CommandLine {
  /** Longest text in bytes; the NUL that ends it in memory is not counted. */
  readonly maxBytes: number;
  #text = '';

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Adds `text`, which may hold several parameters, after a blank. Empty text adds nothing. */
  append(text: string): void {
    if (text === '') return;
    checkCharacters(text);
    const longer = this.#text === '' ? text : `${this.#text} ${text}`;
    if (longer.length > this.maxBytes) {
      const problem = `${longer.length} bytes; the kernel takes at most ${this.maxBytes}`;
      throw new CommandLineError('CMDLINE_TOO_LONG', `kernel command line: ${problem}`);
    }
    this.#text = longer;
  }

  /** Adds `key=value`. A value with blanks is quoted, as Linux reads it; it cannot hold a quotation mark then. */
  set(key: string, value: string): void {
    checkCharacters(key);
    if (key === '' || /[\s="]/u.test(key)) {
      const problem = `${JSON.stringify(key)} is not a parameter name`;
      throw new CommandLineError('CMDLINE_INVALID_KEY', `kernel command line: ${problem}`);
    }
    if (value.includes('"')) {
      throw new CommandLineError(
        'CMDLINE_INVALID_CHARACTER',
        `kernel command line: quotation mark in the value of ${key}`,
      );
    }
    this.append(value.includes(' ') ? `${key}="${value}"` : `${key}=${value}`);
  }

  get lengthBytes(): number {
    return this.#text.length;
  }

  toString(): string {
    return this.#text;
  }

  /** The bytes for guest memory, with the final NUL. */
  encode(): Uint8Array {
    return Buffer.from(`${this.#text}\0`, 'latin1');
  }
}

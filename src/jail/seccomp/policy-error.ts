import { CodedError } from '#util/errors.ts';

/** A place in a policy file; line 0 is the file as a whole. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

/** What is wrong at one place of a policy. */
export interface Mistake extends Place {
  readonly message: string;
}

/** What would move a terminal's cursor or turn the direction of text. */
const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

function withoutControls(text: string): string {
  return text.replace(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A mistake whose message is one line that is safe to print, whatever the policy holds. */
export function mistakeAt({ file, line }: Place, message: string): Mistake {
  return { file, line, message: withoutControls(message) };
}

/** `file:line`, as compilers write it. */
export function showPlace({ file, line }: Place): string {
  return withoutControls(line === 0 ? file : `${file}:${line}`);
}

/** A policy that cannot be compiled: every mistake of all of its files, a line of the message each. */
export class PolicyError extends CodedError<'BAD_POLICY'> {
  override readonly name = 'PolicyError';
  readonly mistakes: readonly Mistake[];

  constructor(mistakes: readonly Mistake[]) {
    super('BAD_POLICY', mistakes.map((mistake) => `${showPlace(mistake)}: ${mistake.message}`).join('\n'));
    this.mistakes = mistakes;
  }
}

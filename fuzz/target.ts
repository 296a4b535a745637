import type { Random } from './random.ts';

/**
 * One untrusted input. A file of `targets/` exports a `target` of this shape; the file's name is the target's.
 * `run` makes one case from `random` and throws when the code under test does anything but what it promises.
 */
export interface FuzzTarget {
  readonly name: string;
  run(random: Random, caseNumber: number): void;
}

/** A target that first makes an input and then checks it, which allows to show the input and to look for a smaller one. */
export interface InputTarget<Input> {
  readonly name: string;
  generate(random: Random): Input;
  /** Throws for a bug; must depend on nothing but the input. */
  check(input: Input): void;
  show(input: Input): string;
  /** Inputs that are smaller than `input`, the smallest first; may be endless only if each is smaller than the one before. */
  shrink?(input: Input): Iterable<Input>;
}

/** A case that failed, with the smallest input that was found for it. */
export class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure';
}

/** Checks of smaller inputs after a failure. */
const SHRINK_CHECKS_MAX = 2000;

function failureOf<Input>(target: InputTarget<Input>, input: Input): unknown {
  try {
    target.check(input);
    return undefined;
  } catch (error) {
    return error ?? new Error('a falsy value was thrown');
  }
}

function smallest<Input>(target: InputTarget<Input>, input: Input): Input {
  if (!target.shrink) return input;
  let failing = input;
  let checks = 0;
  for (let found = true; found; ) {
    found = false;
    for (const candidate of target.shrink(failing)) {
      if (++checks > SHRINK_CHECKS_MAX) return failing;
      if (failureOf(target, candidate) === undefined) continue;
      failing = candidate;
      found = true;
      break;
    }
  }
  return failing;
}

export function inputTarget<Input>(target: InputTarget<Input>): FuzzTarget {
  return {
    name: target.name,
    run(random) {
      const input = target.generate(random);
      if (failureOf(target, input) === undefined) return;
      const failing = smallest(target, input);
      const cause = failureOf(target, failing);
      throw new FuzzFailure(`input ${target.show(failing)}`, { cause });
    },
  };
}

/** `input` with ever smaller parts left out: the usual `shrink` for bytes, text and arrays. */
export function* withoutParts<T extends { readonly length: number }>(
  input: T,
  join: (before: [number, number], after: [number, number]) => T,
): Iterable<T> {
  for (let size = Math.ceil(input.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < input.length; at += size) yield join([0, at], [at + size, input.length]);
  }
}

export function* shrinkBytes(input: Uint8Array): Iterable<Uint8Array> {
  yield* withoutParts(input, (before, after) => Buffer.concat([input.subarray(...before), input.subarray(...after)]));
}

export function* shrinkText(input: string): Iterable<string> {
  yield* withoutParts(input, (before, after) => input.slice(...before) + input.slice(...after));
}

/** Bytes as a message shows them: hex, cut after 2 KiB. */
export function showBytes(input: Uint8Array): string {
  const shownMax = 2048;
  const rest = input.length > shownMax ? `… (${input.length} bytes)` : '';
  return Buffer.from(input.subarray(0, shownMax)).toString('hex') + rest;
}

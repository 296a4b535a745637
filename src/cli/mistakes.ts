import type { Mistake } from '#vmm/config.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import type { CliIo } from './io.ts';

/** One line for each mistake on stderr; returns the exit status for bad arguments. */
export function reportMistakes(io: CliIo, mistakes: readonly Mistake[]): number {
  const lines = new Set(mistakes.map(({ option, message }) => `crosvm: ${option}: ${message}\n`));
  io.err([...lines].join(''));
  return EXIT_CODES['bad-arguments'];
}

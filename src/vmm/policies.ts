/** The seccomp policies of a machine's processes: the package's, or those of `--seccomp-policy-dir`. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Action } from '#jail/seccomp/action.ts';
import { X86_64 } from '#jail/seccomp/architecture.ts';
import { encode } from '#jail/seccomp/bpf.ts';
import { compilePolicy, policyPath } from '#jail/seccomp/compile.ts';
import { PolicyError, showPlace } from '#jail/seccomp/policy-error.ts';
import { type Config, ConfigError, type Mistake } from './config.ts';

const OPTION = '--seccomp-policy-dir';
const MAIN = 'main';
const EXTENSION = '.policy';
/** EPERM, asm-generic/errno-base.h. */
const REFUSED: Action = { errno: 1 };

export class Policies {
  readonly #folder: string | undefined;
  /** Denied calls fail and are told of; else they kill. */
  readonly logsFailures: boolean;

  constructor({ seccompPolicyDir, seccompLogFailures }: Pick<Config, 'seccompPolicyDir' | 'seccompLogFailures'>) {
    this.#folder = seccompPolicyDir;
    this.logsFailures = seccompLogFailures;
  }

  /** Looks for mistakes in all that the user's folder has of our policies. Throws ConfigError with every one. */
  check(): void {
    if (this.#folder === undefined) return;
    const ours = readdirSync(dirname(policyPath(X86_64, MAIN))).filter((file) => file.endsWith(EXTENSION));
    const names = ours.map((file) => file.slice(0, -EXTENSION.length));
    const mistakes = names
      .filter((name) => name === MAIN || existsSync(this.#path(name)))
      .flatMap((name) => mistakesOf(() => this.#compile(name, 'kill-process')));
    // What a file includes is a file too: one mistake may be found twice.
    if (mistakes.length > 0) throw new ConfigError(withoutDoubles(mistakes));
  }

  /** The program of a device's policy, which tells of what it denies: JailConfig.denied. Throws ConfigError. */
  device(name: string): Uint8Array {
    return this.#program(name, 'tell');
  }

  /** That of the main process, which traps where it kills: MainWalls names the call. Throws ConfigError. */
  main(): Uint8Array {
    return this.#program(MAIN, this.logsFailures ? REFUSED : 'trap');
  }

  #program(name: string, defaultAction: Action): Uint8Array {
    try {
      return this.#compile(name, defaultAction);
    } catch (error) {
      if (this.#folder === undefined || !(error instanceof PolicyError)) throw error;
      throw new ConfigError(asMistakes(error));
    }
  }

  #compile(name: string, defaultAction: Action): Uint8Array {
    return encode(compilePolicy({ path: this.#path(name), architecture: X86_64, defaultAction }));
  }

  #path(name: string): string {
    return this.#folder === undefined ? policyPath(X86_64, name) : join(this.#folder, `${name}${EXTENSION}`);
  }
}

/** The name of a system call; its number where it has none. */
export function callName(call: number): string {
  for (const [name, number] of X86_64.systemCalls) if (number === call) return name;
  return `system call ${call}`;
}

function mistakesOf(work: () => unknown): Mistake[] {
  try {
    work();
    return [];
  } catch (error) {
    if (error instanceof PolicyError) return asMistakes(error);
    throw error;
  }
}

function asMistakes({ mistakes }: PolicyError): Mistake[] {
  return mistakes.map((mistake) => ({ option: OPTION, message: `${showPlace(mistake)}: ${mistake.message}` }));
}

function withoutDoubles(mistakes: readonly Mistake[]): Mistake[] {
  return [...new Map(mistakes.map((mistake) => [mistake.message, mistake])).values()];
}

/** Statements to rules: files included, names of calls and constants replaced by an architecture's numbers. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errorMessage } from '#util/errors.ts';
import { ERRNO_MAX } from './action.ts';
import type { Architecture } from './architecture.ts';
import { parsePolicy } from './parser.ts';
import { type Mistake, mistakeAt, type Place, PolicyError, showPlace } from './policy-error.ts';
import type { Condition, Include, Rule, Value } from './syntax.ts';

/** A rule of numbers alone. */
export interface ResolvedRule {
  readonly call: number;
  /** Where it stands. */
  readonly place: Place;
  readonly allowed: Condition<bigint>;
  /** An errno, 0 to 4095; without it the policy's default action is taken. */
  readonly otherwise?: number;
}

export interface PolicySource {
  /** The policy's file; those that it includes are found from there. */
  readonly path: string;
  readonly architecture: Architecture;
  /** Reads a file's text or throws; by default from the file system. */
  readonly readFile?: (path: string) => string;
}

/** Throws for what is no regular file, which might never end. */
function readRegularFile(path: string): string {
  if (!statSync(path).isFile()) throw new Error(`${JSON.stringify(path)} is not a regular file`);
  return readFileSync(path, 'utf8');
}

/** Files of one policy. minijail allows one level of inclusion. */
const FILES_MAX = 16;

class Resolver {
  readonly #architecture: Architecture;
  readonly #readFile: (path: string) => string;
  readonly mistakes: Mistake[] = [];
  readonly rules = new Map<number, ResolvedRule>();
  /** Every file that was read, and where it was included. */
  readonly #files = new Map<string, string>();
  /** The files that are being read, each included by the one before. */
  readonly #open: string[] = [];

  constructor({ architecture, readFile = readRegularFile }: PolicySource) {
    this.#architecture = architecture;
    this.#readFile = readFile;
  }

  /** Reads a file; `from` is the place that asks for it. */
  file(path: string, from: Place): void {
    const text = this.#text(path, from);
    if (text === undefined) return;
    const { statements, mistakes } = parsePolicy(text, path);
    for (const mistake of mistakes) this.mistakes.push(mistake);
    this.#open.push(path);
    for (const statement of statements) {
      if (statement.kind === 'rule') this.#rule(statement, { file: path, line: statement.line });
      else this.#include(statement, path);
    }
    this.#open.pop();
  }

  #text(path: string, from: Place): string | undefined {
    this.#files.set(path, showPlace(from));
    try {
      return this.#readFile(path);
    } catch (error) {
      this.#mistake(from, `cannot read the policy: ${errorMessage(error)}`);
      return undefined;
    }
  }

  #include({ path, line }: Include, file: string): void {
    const from = { file, line };
    const included = resolve(dirname(file), path);
    const before = this.#files.get(included);
    const name = JSON.stringify(included);
    if (this.#open.includes(included)) this.#mistake(from, `${name} includes itself`);
    else if (before !== undefined) this.#mistake(from, `${name} is included already, ${before}`);
    else if (this.#files.size >= FILES_MAX) this.#mistake(from, `a policy of more than ${FILES_MAX} files`);
    else this.file(included, from);
  }

  #rule(rule: Rule, place: Place): void {
    const allowed = rule.allowed.map((conjunction) =>
      conjunction.map((atom) => ({ ...atom, value: this.#value(atom.value, place.file) })),
    );
    const otherwise = rule.otherwise && this.#errno(rule.otherwise, place);
    const call = this.#call(rule, place);
    if (call === undefined) return;
    this.rules.set(call, { call, place, allowed, ...(otherwise === undefined ? {} : { otherwise }) });
  }

  /** The number of a rule's call; undefined after a mistake. */
  #call({ call: named }: Rule, place: Place): number | undefined {
    const { name, systemCalls, foreignCallsFrom = Infinity } = this.#architecture;
    const call = typeof named === 'number' ? named : systemCalls.get(named);
    const before = call === undefined ? undefined : this.rules.get(call);
    if (call === undefined) this.#mistake(place, `${name} has no system call ${named}`);
    else if (call >= foreignCallsFrom) this.#mistake(place, `${named} is a call of another convention than ${name}'s`);
    else if (before) this.#mistake(place, `${named} has a rule already, ${showPlace(before.place)}`);
    else return call;
    return undefined;
  }

  /** The errno of `return`; 0 after a mistake. */
  #errno(value: Value, place: Place): number {
    const errno = this.#value(value, place.file);
    if (errno <= BigInt(ERRNO_MAX)) return Number(errno);
    this.#mistake(place, `return ${BigInt.asIntN(64, errno)}: an errno is 0 to ${ERRNO_MAX}`);
    return 0;
  }

  /** A constant expression's 64 bits; 0 for a name that is unknown. */
  #value(value: Value, file: string): bigint {
    switch (value.kind) {
      case 'number':
        return value.value;
      case 'complement':
        return BigInt.asUintN(64, ~this.#value(value.of, file));
      case 'union':
        return value.of.reduce((bits, part) => bits | this.#value(part, file), 0n);
      case 'name': {
        const known = this.#architecture.constants.get(value.name);
        if (known === undefined) {
          this.#mistake({ file, line: value.line }, `${this.#architecture.name} has no constant ${value.name}`);
        }
        return BigInt.asUintN(64, BigInt(known ?? 0));
      }
    }
  }

  #mistake(place: Place, message: string): void {
    this.mistakes.push(mistakeAt(place, message));
  }
}

/** The rules of a policy in the order of their numbers. Throws PolicyError with every mistake of all of its files. */
export function resolvePolicy(source: PolicySource): ResolvedRule[] {
  const path = resolve(source.path);
  const resolver = new Resolver(source);
  resolver.file(path, { file: path, line: 0 });
  if (resolver.mistakes.length > 0) throw new PolicyError(resolver.mistakes);
  return [...resolver.rules.values()].sort((a, b) => a.call - b.call);
}

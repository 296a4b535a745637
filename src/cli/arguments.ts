/**
 * The option grammar of crosvm: `--name=value`, `--name value`, `-xVALUE`, `-x value`, `--` ends the options, options and
 * positional arguments in any order. The tokens come from node:util's parseArgs; its own errors are not used, since it
 * stops at the first one.
 */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { quoted } from '#util/quoted.ts';
import type { Mistake } from '#vmm/config.ts';

export interface OptionSpec {
  readonly name: string;
  readonly short?: string;
  /** The value's name in the help; an option without it is a flag and takes none. */
  readonly value?: string;
  readonly repeatable?: boolean;
  readonly help: string;
}

export interface ParsedArguments {
  /** By option name, in the order given: at most one value unless the option is repeatable. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** The same by their order among all options. */
  readonly ordered: readonly { readonly name: string; readonly value: string }[];
  readonly flags: ReadonlySet<string>;
  readonly positionals: readonly string[];
  /** In the order of the arguments. */
  readonly mistakes: readonly Mistake[];
}

interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value: string | undefined;
  readonly inline: boolean;
}

/** Never throws: whatever is wrong is among the mistakes, and what could be understood is returned beside them. */
export function parseArguments(argv: readonly string[], specs: readonly OptionSpec[]): ParsedArguments {
  const collector = new Collector(specs);
  let start = 0;
  while (start < argv.length) start += scan(argv.slice(start), collector);
  return collector.result;
}

/** Feeds the collector until an option lacks its value; returns how many arguments were used up. */
function scan(argv: readonly string[], collector: Collector): number {
  const { tokens } = parseArgs({
    args: argv,
    options: collector.config,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  let unknownAt = -1;
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') {
      collector.positionals.push(token.value);
      continue;
    }
    const { name, rawName, value, index } = token;
    if (!collector.knows(name)) {
      // An unknown `-xyz` arrives as three options.
      if (unknownAt !== index) collector.unknown(rawName.startsWith('--') ? rawName : (argv[index] ?? rawName));
      unknownAt = index;
      continue;
    }
    if (collector.lacksValue(token)) {
      collector.mistake(rawName, 'needs a value; one that begins with - is given with =, as in --name=-value');
      return index + 1;
    }
    collector.option({ name, rawName, value, inline: token.inlineValue ?? false });
  }
  return argv.length;
}

class Collector {
  readonly config: ParseArgsOptionsConfig = {};
  readonly positionals: string[] = [];
  readonly #specs = new Map<string, OptionSpec>();
  readonly #values = new Map<string, string[]>();
  readonly #ordered: { readonly name: string; readonly value: string }[] = [];
  readonly #flags = new Set<string>();
  readonly #mistakes: Mistake[] = [];

  constructor(specs: readonly OptionSpec[]) {
    for (const spec of specs) {
      this.#specs.set(spec.name, spec);
      const type = spec.value === undefined ? 'boolean' : 'string';
      this.config[spec.name] = spec.short === undefined ? { type } : { type, short: spec.short };
    }
  }

  get result(): ParsedArguments {
    return {
      values: this.#values,
      ordered: this.#ordered,
      flags: this.#flags,
      positionals: this.positionals,
      mistakes: this.#mistakes,
    };
  }

  knows(name: string): boolean {
    return this.#specs.has(name);
  }

  /** Whether an option that needs a value was followed by nothing, or by what looks like the next option. */
  lacksValue(token: { name: string; value: string | undefined; inlineValue: boolean | undefined }): boolean {
    if (this.#specs.get(token.name)?.value === undefined) return false;
    return token.value === undefined || (token.inlineValue === false && /^-./s.test(token.value));
  }

  mistake(option: string, message: string): void {
    this.#mistakes.push({ option, message });
  }

  unknown(argument: string): void {
    this.mistake(/^-{1,2}[\w-]{1,40}$/.test(argument) ? argument : quoted(argument), 'unknown option');
  }

  option(token: OptionToken): void {
    const spec = this.#specs.get(token.name);
    if (spec === undefined) return;
    if (spec.value === undefined) {
      if (token.inline) this.mistake(`--${spec.name}`, 'takes no value');
      if (this.#flags.has(spec.name)) this.mistake(`--${spec.name}`, 'given twice');
      this.#flags.add(spec.name);
      return;
    }
    const values = this.#values.get(spec.name) ?? [];
    if (values.length > 0 && spec.repeatable !== true) {
      this.mistake(`--${spec.name}`, `given twice, last with ${quoted(token.value ?? '')}`);
      return;
    }
    values.push(token.value ?? '');
    this.#ordered.push({ name: token.name, value: token.value ?? '' });
    this.#values.set(spec.name, values);
  }
}

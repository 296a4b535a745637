import type { OptionSpec } from './arguments.ts';
import { RUN_OPTIONS } from './run-options.ts';

const LINE_WIDTH = 80;
const HELP_COLUMN = 24;

export const COMMANDS = {
  run: 'boot a kernel in a virtual machine',
  stop: 'end a running machine',
  status: 'say what a running machine is and does',
  suspend: 'make a running machine stand still',
  resume: 'let a machine that stands still go on',
  powerbtn: 'press the power button of a running machine',
  balloon: 'have a running machine give memory back',
  disk: 'make a disk of a running machine longer',
  balloon_stats: 'print what a running machine says of its memory, as JSON',
  create_qcow2: 'make an empty qcow2 disk image',
  doctor: 'say what this host offers and what will be used, and why',
  version: 'print the version',
  help: "print this help, or that of a command: 'crosvm help run'",
} as const;

export const CREATE_QCOW2_OPTIONS: readonly OptionSpec[] = [
  { name: 'backing', value: 'FILE', help: 'what lies below: read where the new image has nothing' },
  { name: 'backing-format', value: 'FORMAT', help: 'the format of that file, raw or qcow2; never guessed' },
  { name: 'help', short: 'h', help: 'print this help' },
];

export type CommandName = keyof typeof COMMANDS;

export function generalHelp(): string {
  const commands = Object.entries(COMMANDS).map(([name, text]) => entry(`  ${name}`, text));
  return `Usage: crosvm COMMAND [ARGUMENTS]\n\n${commands.join('')}`;
}

export function runHelp(): string {
  const options = RUN_OPTIONS.map((spec) => entry(optionForm(spec), spec.help));
  return [
    'Usage: crosvm run [OPTIONS] KERNEL\n\n',
    ...paragraph('KERNEL is a bzImage (vmlinuz) or an ELF kernel (vmlinux) for x86-64.'),
    ...paragraph('On a terminal, Ctrl-A x leaves and Ctrl-A Ctrl-A sends Ctrl-A.'),
    '\n',
    ...options,
  ].join('');
}

export function doctorHelp(): string {
  return `Usage: crosvm doctor [--json]\n\n${entry('      --json', 'print the findings as JSON')}`;
}

/** Help of a command that speaks to running machines. */
export function controlHelp(
  name: keyof typeof COMMANDS,
  {
    options,
    several,
    leading = [],
  }: {
    readonly options: readonly OptionSpec[];
    readonly several: boolean;
    readonly leading?: readonly { readonly form: string; readonly demand: string }[];
  },
): string {
  return [
    `Usage: crosvm ${name} [OPTIONS] ${leading.map(({ form }) => `${form} `).join('')}SOCKET${several ? '…' : ''}\n\n`,
    ...leading
      .filter(({ form, demand }) => form !== demand)
      .flatMap(({ form, demand }) => paragraph(`${form} is ${demand}.`)),
    ...paragraph(`SOCKET is what 'crosvm run --socket' made. This will ${COMMANDS[name]}.`),
    '\n',
    ...options.map((spec) => entry(optionForm(spec), spec.help)),
  ].join('');
}

export function createQcow2Help(): string {
  return [
    'Usage: crosvm create_qcow2 [OPTIONS] PATH SIZE\n\n',
    ...paragraph('Makes PATH, which must not exist. SIZE is in bytes, or with K, M, G or T.'),
    '\n',
    ...CREATE_QCOW2_OPTIONS.map((spec) => entry(optionForm(spec), spec.help)),
  ].join('');
}

function optionForm(spec: OptionSpec): string {
  const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
  return `  ${short}--${spec.name}${spec.value === undefined ? '' : ` ${spec.value}`}`;
}

/** A term and its explanation, in two columns. */
function entry(term: string, text: string): string {
  const lines = wrap(text, LINE_WIDTH - HELP_COLUMN);
  const indent = ' '.repeat(HELP_COLUMN);
  const body = lines.map((line) => `${indent}${line}\n`).join('');
  return term.length < HELP_COLUMN - 1 ? term.padEnd(HELP_COLUMN) + body.slice(HELP_COLUMN) : `${term}\n${body}`;
}

function paragraph(text: string): string[] {
  return wrap(text, LINE_WIDTH).map((line) => `${line}\n`);
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

import assert from 'node:assert/strict';
import { AARCH64, X86_64 } from '#jail/seccomp/architecture.ts';
import { compilePolicy } from '#jail/seccomp/compile.ts';
import { PolicyError } from '#jail/seccomp/policy-error.ts';
import { resolvePolicy } from '#jail/seccomp/resolver.ts';
import { checkProgram, cornerArguments, meaning, runProgram } from '#jail/seccomp/testing-bpf.ts';
import type { Random } from '../random.ts';
import { inputTarget, shrinkText } from '../target.ts';

const CALLS = ['read', 'write', 'mmap', 'openat', 'ioctl', 'open', '39', '0x3fffffff', '__proto__'];
const CONSTANTS = ['PROT_EXEC', 'O_DIRECTORY', 'AT_FDCWD', 'MAP_PRIVATE', 'EPERM', 'constructor', 'NO_SUCH'];
const OPERATORS = ['==', '!=', '<', '<=', '>', '>=', '&', 'in'];
const PIECES = [
  ...[...CALLS, ...CONSTANTS, ...OPERATORS, 'arg0', 'arg5', 'arg6', 'return', '@include', '@frequency', 'b.policy'],
  ...[':', ';', '||', '&&', '|', '~', '(', ')', '1', '0', '#', '\\', '\\\n', '\n', '\r\n', '\t', '\0', '"', '{', ','],
  ...['\x1b[2J', '\x9b', '\u2028', '\u202e', '\ud800', '\u{1f600}', './a.policy', '/'],
];
const INCLUDED: ReadonlyMap<string, string> = new Map([
  ['/p/b.policy', 'close: 1\n@include c.policy\n'],
  ['/p/c.policy', 'brk: arg0 > 0x100000000; return ENOMEM\n'],
  ['/p/wrong.policy', 'close: 2\n@include a.policy\n'],
]);

function term(random: Random): string {
  const complement = random.oneIn(4) ? '~' : '';
  if (random.oneIn(6)) return `${complement}(${constant(random)})`;
  if (random.oneIn(3)) return complement + random.pick(CONSTANTS.slice(0, random.oneIn(20) ? 7 : 5));
  return complement + (random.oneIn(2) ? `0x${random.boundary(64).toString(16)}` : `${random.boundary(32)}`);
}

function constant(random: Random): string {
  return Array.from({ length: random.oneIn(4) ? 2 : 1 }, () => term(random)).join(' | ');
}

function body(random: Random): string {
  if (random.oneIn(5)) return '1';
  const errno = random.pick(['EPERM', '4095', '0', `${random.boundary(16)}`]);
  if (random.oneIn(5)) return `return ${errno}`;
  const atom = () => `arg${random.below(6)} ${random.pick(OPERATORS)} ${constant(random)}`;
  const conjunction = () => Array.from({ length: random.between(1, 3) }, atom).join(' && ');
  const length = random.oneIn(40) ? 300 : random.between(1, 4);
  return Array.from({ length }, conjunction).join(' || ') + (random.oneIn(3) ? `; return ${errno}` : '');
}

function statement(random: Random): string {
  if (random.oneIn(10)) return `@include ${random.pick([...INCLUDED.keys(), 'c.policy', './a.policy', 'none'])}`;
  if (random.oneIn(20)) return Array.from({ length: random.below(10) }, () => random.pick(PIECES)).join(' ');
  return `${random.oneIn(3) ? random.pick(CALLS) : random.below(480)}: ${body(random)}`;
}

/** Most inputs are nearly right, so that they are compiled. */
function generate(random: Random): string {
  if (random.oneIn(4)) return Array.from({ length: random.below(40) }, () => random.pick(PIECES)).join(' ');
  const text = Array.from({ length: random.below(8) }, () => statement(random)).join('\n');
  if (!random.oneIn(4)) return text;
  const at = random.below(text.length + 1);
  return text.slice(0, at) + random.pick(PIECES) + text.slice(at + random.below(4));
}

/** Either a program that the kernel takes and that does what the rules say, or mistakes of one printable line each. */
function check(text: string): void {
  for (const architecture of [X86_64, AARCH64]) {
    const readFile = (path: string) => {
      const found = path === '/p/a.policy' ? text : INCLUDED.get(path);
      if (found === undefined) throw new Error(`no file ${path}`);
      return found;
    };
    const options = { path: '/p/a.policy', architecture, defaultAction: 'trap', readFile } as const;
    try {
      const program = compilePolicy(options);
      checkProgram(program);
      const rules = resolvePolicy(options);
      for (const call of [...rules.map((rule) => rule.call), 0, 39, 479, 0x4000_0000]) {
        const values = rules.find((rule) => rule.call === call)?.allowed.flat() ?? [];
        for (const corner of cornerArguments(values.slice(0, 20).map(({ value }) => value))) {
          const data = { call, arch: architecture.auditArch, args: Array<bigint>(6).fill(corner) };
          assert.equal(runProgram(program, data), meaning(rules, data, options));
        }
      }
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      assert.ok(error.mistakes.length > 0);
      const lines = text.split('\n').length;
      for (const { line, message } of error.mistakes) {
        assert.ok(line >= 0 && line <= Math.max(lines, 3));
        assert.doesNotMatch(message, /[\p{Cc}\u2028-\u202e]/u);
      }
    }
  }
}

export const target = inputTarget<string>({
  name: 'seccomp-policy',
  generate,
  check,
  show: JSON.stringify,
  shrink: shrinkText,
});

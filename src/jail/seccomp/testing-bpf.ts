/** For tests: classic BPF run as the kernel runs it, and what rules mean without BPF. */
import assert from 'node:assert/strict';
import { type Action, returnValue } from './action.ts';
import type { Architecture } from './architecture.ts';
import { Code, INSTRUCTIONS_MAX, type Instruction } from './bpf.ts';
import type { ResolvedRule } from './resolver.ts';
import type { Atom } from './syntax.ts';

/** `struct seccomp_data`, without the instruction pointer, which is 0. */
export interface CallData {
  readonly call: number;
  readonly arch: number;
  /** Six unsigned numbers of 64 bits. */
  readonly args: readonly bigint[];
}

const CONDITIONS: ReadonlyMap<number, (word: number, value: number) => boolean> = new Map([
  [Code.JUMP_EQUAL, (word: number, value: number) => word === value],
  [Code.JUMP_GREATER, (word: number, value: number) => word > value],
  [Code.JUMP_GREATER_EQUAL, (word: number, value: number) => word >= value],
  [Code.JUMP_ANY, (word: number, value: number) => (word & value) !== 0],
]);

/** What the kernel asks of a program before it takes it (seccomp_check_filter, bpf_check_classic), or throws. */
export function checkProgram(program: readonly Instruction[]): void {
  assert.ok(program.length >= 1 && program.length <= INSTRUCTIONS_MAX, 'length');
  program.forEach(({ code, jt, jf, k }, index) => {
    const after = program.length - index - 1;
    assert.ok(k >= 0 && k <= 0xffff_ffff && jt >= 0 && jt <= 255 && jf >= 0 && jf <= 255, 'fields');
    if (CONDITIONS.has(code)) assert.ok(jt < after && jf < after, 'a jump within the program');
    else if (code === Code.JUMP) assert.ok(k < after, 'a jump within the program');
    else if (code === Code.LOAD) assert.ok(k % 4 === 0 && k < 64, 'a word of seccomp_data');
    else assert.equal(code, Code.RETURN);
  });
  assert.equal(program.at(-1)?.code, Code.RETURN);
}

/** `struct seccomp_data` as the kernel lays it out. */
function bytesOf({ call, arch, args }: CallData): DataView {
  const view = new DataView(new ArrayBuffer(64));
  view.setUint32(0, call, true);
  view.setUint32(4, arch, true);
  args.forEach((argument, index) => {
    view.setBigUint64(16 + 8 * index, argument, true);
  });
  return view;
}

/** What the program returns. */
export function runProgram(program: readonly Instruction[], data: CallData): number {
  const bytes = bytesOf(data);
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const instruction = program[at];
    assert.ok(instruction, 'the program ends in a return');
    const { code, jt, jf, k } = instruction;
    const condition = CONDITIONS.get(code);
    if (condition) at += condition(accumulator, k) ? jt : jf;
    else if (code === Code.LOAD) accumulator = bytes.getUint32(k, true);
    else if (code === Code.JUMP) at += k;
    else return k;
  }
}

/** minijail0(5), "Atom Syntax", over all 64 bits at once. */
export function holds({ argument, comparison, value }: Atom<bigint>, args: readonly bigint[]): boolean {
  const given = args[argument] as bigint;
  const comparisons = {
    '==': given === value,
    '!=': given !== value,
    '<': given < value,
    '<=': given <= value,
    '>': given > value,
    '>=': given >= value,
    '&': (given & value) !== 0n,
    in: (given | value) === value,
  };
  return comparisons[comparison];
}

/** What a filter of these rules has to return. */
export function meaning(
  rules: readonly Omit<ResolvedRule, 'place'>[],
  data: CallData,
  { architecture, defaultAction }: { architecture: Architecture; defaultAction: Action },
): number {
  if (data.arch !== architecture.auditArch) return returnValue('kill-process');
  if (data.call >= (architecture.foreignCallsFrom ?? Infinity)) return returnValue('kill-process');
  const rule = rules.find(({ call }) => call === data.call);
  if (!rule) return returnValue(defaultAction);
  if (rule.allowed.some((atoms) => atoms.every((atom) => holds(atom, data.args)))) return returnValue('allow');
  return returnValue(rule.otherwise === undefined ? defaultAction : { errno: rule.otherwise });
}

/** Arguments at which comparisons with these values go wrong: around each, and with its halves changed alone. */
export function cornerArguments(values: readonly bigint[]): bigint[] {
  const around = values.flatMap((value) => [value - 1n, value, value + 1n, ~value, value ^ (1n << 32n), value << 32n]);
  const corners = [0n, 1n, 0xffff_ffffn, 1n << 32n, (1n << 32n) + 1n, 1n << 63n, (1n << 64n) - 1n];
  return [...new Set([...around, ...corners].map((value) => BigInt.asUintN(64, value)))];
}

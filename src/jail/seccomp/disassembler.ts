/** BPF programs as text, for tests and for people. */
import { showReturnValue } from './action.ts';
import { Code, type Instruction } from './bpf.ts';
import { DataWord } from './decisions.ts';

const OPERATORS = new Map<number, string>([
  [Code.JUMP_EQUAL, '=='],
  [Code.JUMP_GREATER, '>'],
  [Code.JUMP_GREATER_EQUAL, '>='],
  [Code.JUMP_ANY, '&'],
]);

const WORDS = new Map<number, string>([
  [DataWord.CALL, 'call'],
  [DataWord.ARCH, 'arch'],
  [8, 'ip.low'],
  [12, 'ip.high'],
]);
for (let argument = 0; argument < 6; argument++) {
  WORDS.set(DataWord.low(argument), `arg${argument}.low`);
  WORDS.set(DataWord.high(argument), `arg${argument}.high`);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function text({ code, jt, jf, k }: Instruction, index: number): string {
  const operator = OPERATORS.get(code);
  if (operator !== undefined) return `if ${operator} ${hex(k)} goto ${index + 1 + jt} else ${index + 1 + jf}`;
  if (code === Code.LOAD) return `load ${WORDS.get(k) ?? hex(k)}`;
  if (code === Code.JUMP) return `goto ${index + 1 + k}`;
  if (code === Code.RETURN) return `return ${showReturnValue(k) ?? hex(k)}`;
  return `unknown ${hex(code)} ${jt} ${jf} ${hex(k)}`;
}

/** A line for each instruction, its number first. */
export function disassemble(program: readonly Instruction[]): string {
  const width = String(Math.max(0, program.length - 1)).length;
  return program
    .map((instruction, index) => `${String(index).padStart(width)}: ${text(instruction, index)}\n`)
    .join('');
}

/** Random programs with a shape: a loop that calls functions, so that compiled code has ways in and out of them. */
import type { Random } from '../random.ts';
import { type Context, little, randomInstruction } from './instructions.ts';

const ROUNDS_MAX = 40;
const CALLS_MAX = 3;
const FUNCTIONS = 2;
const BODY_MAX = 4;
const LENGTH = { CALL: 5, DEC: 3, JNZ: 2 } as const;
const RET = [0xc3];
const UD2 = [0x0f, 0x0b];

const lengthOf = (instructions: readonly Uint8Array[]): number =>
  instructions.reduce((sum, bytes) => sum + bytes.length, 0);

/**
 * mov r15d, ROUNDS; L: call a function, some times; dec r15d; jnz L; ud2; the functions. What they do may well be to change the
 * counter, the stack or the code.
 */
export function callingProgram(random: Random, context: Context): Uint8Array[] {
  const functions = Array.from({ length: FUNCTIONS }, () => [
    ...Array.from({ length: random.between(1, BODY_MAX) }, () => randomInstruction(random, context)),
    Uint8Array.from(RET),
  ]);
  const calls = random.between(1, CALLS_MAX);
  const loopBytes = calls * LENGTH.CALL + LENGTH.DEC + LENGTH.JNZ;
  const starts: number[] = [];
  // From the first call on.
  let next = loopBytes + UD2.length;
  for (const body of functions) {
    starts.push(next);
    next += lengthOf(body);
  }
  const call = (_: unknown, index: number): Uint8Array =>
    Uint8Array.of(0xe8, ...little(random.pick(starts) - (index + 1) * LENGTH.CALL, 4));
  return [
    Uint8Array.of(0x41, 0xbf, ...little(random.between(2, ROUNDS_MAX), 4)),
    ...Array.from({ length: calls }, call),
    Uint8Array.of(0x41, 0xff, 0xcf),
    Uint8Array.of(0x75, -loopBytes & 0xff),
    Uint8Array.from(UD2),
    ...functions.flat(),
  ];
}

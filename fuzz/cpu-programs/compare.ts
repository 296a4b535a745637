/** What two machines differ in after the same program. */
import { GPR_NAMES, STATE } from '#cpu/layout.ts';
import type { ProgramMachine } from './machine.ts';

/** Parts of the state block that code can see, apart from general registers. */
const BLOCKS = [
  ['segment bases', STATE.SEGMENT_BASE, STATE.CODE_PAGE],
  ['RIP', STATE.RIP, STATE.CC_OP],
  ['XMM registers', STATE.XMM, STATE.XMM_TEMP],
  ['MXCSR', STATE.MXCSR, STATE.SSE_UNCHECKED],
  ['x87 state', STATE.X87, STATE.X87_MEMORY],
] as const;
const SHOWN_MAX = 8;

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** All that privileged code sees, as text; which exception was raised last inside is nobody's business. */
function systemOf({ test }: ProgramMachine): string {
  return JSON.stringify({ ...test.cpu.system, vector: 0, errorCode: 0 });
}

function* bytesThatDiffer(name: string, actual: Uint8Array, expected: Uint8Array): Iterable<string> {
  if (Buffer.compare(actual, expected) === 0) return;
  if (actual.length !== expected.length || actual.length <= 0x200) {
    yield `${name} ${hexOf(actual)} instead of ${hexOf(expected)}`;
    return;
  }
  const places = Array.from(actual.keys()).filter((at) => actual[at] !== expected[at]);
  const shown = places.slice(0, SHOWN_MAX).map((at) => `${at.toString(16)}: ${actual[at]} instead of ${expected[at]}`);
  yield `${name}, ${places.length} bytes: ${shown.join(', ')}`;
}

/** One line per difference of `actual` from `expected`. */
export function* differences(actual: ProgramMachine, expected: ProgramMachine): Iterable<string> {
  const a = actual.test.cpu;
  const b = expected.test.cpu;
  for (const [number, name] of GPR_NAMES.entries()) {
    const value = actual.test.register(number);
    const wanted = expected.test.register(number);
    if (value !== wanted) yield `${name} ${value.toString(16)} instead of ${wanted.toString(16)}`;
  }
  if (a.flags !== b.flags) yield `flags ${a.flags.toString(16)} instead of ${b.flags.toString(16)}`;
  for (const [name, from, to] of BLOCKS) {
    yield* bytesThatDiffer(name, a.bytes.subarray(from, to), b.bytes.subarray(from, to));
  }
  const system = systemOf(actual);
  const wanted = systemOf(expected);
  if (system !== wanted) yield `system ${system}\n  instead of ${wanted}`;
  yield* bytesThatDiffer('frame', actual.frame, expected.frame);
  yield* bytesThatDiffer('memory', actual.programMemory, expected.programMemory);
}

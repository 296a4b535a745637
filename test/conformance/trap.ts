/** How a case ended, from the first exception after it was entered. Every case ends in one: see FILLER. */
import { CODE_BASE, type Exception, VECTOR } from './case.ts';

/** Page-fault error code: the access was an instruction fetch (SDM vol. 3 §4.7). */
const PF_FETCH = 1 << 4;
const PF_PRESENT = 1 << 0;

/** From here on Linux takes addresses for the kernel's (TASK_SIZE_MAX). It calls all of them present, so as not to tell which are. */
const KERNEL_START = 2n ** 47n - 4096n;

export interface Trap {
  readonly vector: number;
  readonly errorCode: number;
  readonly cr2: bigint;
  /** As the exception's handler finds it. */
  readonly rip: bigint;
}

export interface Ending {
  /** The instruction's own exception; null when the trap came after the instruction. */
  readonly exception: Exception | null;
  /** Where execution goes on. */
  readonly rip: bigint;
}

/** `offset` and `length` say where in the code area the instruction lies. */
export function endingOf(trap: Trap, offset: number, length: number): Ending {
  const { vector, errorCode, cr2, rip } = trap;
  const start = BigInt(CODE_BASE + offset);
  const inInstruction = (at: bigint): boolean => at >= start && at < start + BigInt(length);
  if (vector === VECTOR.BP && !inInstruction(rip - 1n)) return { exception: null, rip: rip - 1n };
  if (vector !== VECTOR.PF) return { exception: { vector, errorCode, address: 0n }, rip };
  if (errorCode & PF_FETCH && rip !== start) return { exception: null, rip };
  const told = cr2 >= KERNEL_START ? errorCode & ~PF_PRESENT : errorCode;
  return { exception: { vector, errorCode: told, address: cr2 }, rip };
}

/** A case in the making: choices and values, before they become bytes. */
import type { Random } from '../../../fuzz/random.ts';
import { type CodeBits, initialState, type Patch, type UserState } from '../case.ts';
import type { EncodingRow } from './rows.ts';

export const GPR = { RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7 } as const;

/** A memory operand as ModRM, SIB and displacement express it. */
export interface MemoryForm {
  readonly base: number | null;
  readonly index: number | null;
  /** log2 of the index's factor. */
  readonly scale: number;
  /** −2^31 to 2^31 − 1; for `ripRelative` it is worked out last. */
  readonly displacement: number;
  readonly displacementBytes: 0 | 1 | 2 | 4;
  /** Relative to RIP; in legacy code the same form is an absolute address. */
  readonly ripRelative: boolean;
}

export interface Draft {
  readonly random: Random;
  readonly row: EncodingRow;
  readonly bits: CodeBits;
  readonly state: UserState;
  readonly patches: Patch[];
  /** Registers whose value has a meaning for the instruction: an address must not be built by changing them. */
  readonly fixed: Set<number>;
  /** 2, 4 or 8. */
  operandSizeBytes: number;
  addressSizeBytes: 2 | 4 | 8;
  wide: boolean;
  rexPresent: boolean;
  operandPrefix: boolean;
  /** F2 or F3 in front, chosen by the case and not by the row. */
  repeat: 0 | 0xf2 | 0xf3;
  lock: boolean;
  /** ModRM.reg with REX.R; only its low bits when the row has a digit. */
  reg: number;
  /** ModRM.rm with REX.B, or the register in the opcode. */
  rm: number;
  memory: MemoryForm | null;
  /** The address that the memory operand is meant to have; where the operand's value goes. */
  target: bigint;
  /** Bytes of the operand in ModRM.rm. */
  operandBytes: number;
  immediates: Uint8Array[];
  /** Where execution may go, for control transfers through a register or memory. */
  rip: bigint;
}

export function newDraft(random: Random, row: EncodingRow, bits: CodeBits): Draft {
  return {
    random,
    row,
    bits,
    state: initialState(),
    patches: [],
    fixed: new Set(),
    operandSizeBytes: 4,
    addressSizeBytes: bits === 64 ? 8 : 4,
    wide: false,
    rexPresent: false,
    operandPrefix: false,
    repeat: 0,
    lock: false,
    reg: 0,
    rm: 0,
    memory: null,
    target: 0n,
    operandBytes: 0,
    immediates: [],
    rip: 0n,
  };
}

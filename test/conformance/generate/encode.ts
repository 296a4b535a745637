/** Drafts as machine code. */
import { CODE_BASE, CODE_SIZE, PAGE_SIZE } from '../case.ts';
import type { Draft } from './draft.ts';
import { branchDistance } from './semantics.ts';
import { chance } from './values.ts';

const MAX_LENGTH = 15;

/** Segment overrides that 64-bit mode ignores; in legacy code all but that of CS, which is not writable, change nothing. */
const IGNORED_PREFIXES = { 64: [0x2e, 0x36, 0x3e, 0x26], 32: [0x36, 0x3e, 0x26] } as const;

function prefixes(draft: Draft): number[] {
  const { random, row } = draft;
  const list: number[] = [];
  if (draft.operandPrefix) list.push(0x66);
  if (draft.addressSizeBytes * 8 < draft.bits) list.push(0x67);
  if (draft.lock) list.push(0xf0);
  if (draft.repeat) list.push(draft.repeat);
  if (row.prefix === '66' && !draft.operandPrefix) list.push(0x66);
  if (row.prefix === 'f3') list.push(0xf3);
  if (row.prefix === 'f2') list.push(0xf2);
  if (chance(random, 0.05)) list.push(random.pick(IGNORED_PREFIXES[draft.bits]));
  for (let i = list.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [list[i], list[j]] = [list[j] as number, list[i] as number];
  }
  return list;
}

const needsRex = (draft: Draft): boolean => draft.rexPresent || draft.wide || rexBits(draft) !== 0;

function rexBits({ reg, rm, memory }: Draft): number {
  const b = memory ? (memory.base ?? 0) : rm;
  return (reg & 8 ? 4 : 0) | ((memory?.index ?? 0) & 8 ? 2 : 0) | (b & 8 ? 1 : 0);
}

function opcodeBytes(draft: Draft): number[] {
  const { map, opcode } = draft.row;
  const escapeBytes = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][map] as number[];
  return [...escapeBytes, opcode];
}

const little = (value: number, sizeBytes: number): number[] =>
  Array.from({ length: sizeBytes }, (_, i) => (value >> (8 * i)) & 0xff);

function modrmBytes(draft: Draft): number[] {
  const { memory, row } = draft;
  if (!row.modrm) return [];
  const reg = (draft.reg & 7) << 3;
  if (!memory) return [0xc0 | reg | (draft.rm & 7)];
  if (memory.ripRelative) return [reg | 5, 0, 0, 0, 0];
  const displacement = little(memory.displacement, memory.displacementBytes);
  if (draft.addressSizeBytes === 2) {
    const mod16 = memory.base === null ? 0 : memory.displacementBytes << 6;
    return [mod16 | reg | (memory.base ?? 6), ...displacement];
  }
  const mod = memory.base === null ? 0 : memory.displacementBytes === 4 ? 0x80 : memory.displacementBytes << 6;
  const sibNeeded = memory.index !== null || memory.base === null || (memory.base & 7) === 4;
  if (!sibNeeded) return [mod | reg | ((memory.base as number) & 7), ...displacement];
  const sib = (memory.scale << 6) | (((memory.index ?? 4) & 7) << 3) | ((memory.base ?? 5) & 7);
  return [mod | reg | 4, sib, ...displacement];
}

/** Where the instruction stands: mostly inside a page, at times across a page's end or cut off by the end of the code. */
function place(draft: Draft, length: number): number {
  const { random } = draft;
  const kind = random.below(100);
  if (kind < 3) return CODE_BASE + PAGE_SIZE - random.below(length + 1);
  if (kind < 5) return CODE_BASE + CODE_SIZE - random.between(1, length + 1);
  return CODE_BASE + random.below(2) * PAGE_SIZE + 256 + random.below(1024);
}

export interface Encoded {
  readonly code: Uint8Array;
  readonly address: number;
  /** Where a direct branch goes when it is taken; null for other instructions. */
  readonly branchTarget: number | null;
}

/** The draft's bytes and their place. Null when a branch would go into the instruction itself. */
export function encode(draft: Draft): Encoded | null {
  const { random, row } = draft;
  const front = prefixes(draft);
  const rex = needsRex(draft) ? [0x40 | (draft.wide ? 8 : 0) | rexBits(draft)] : [];
  const opcode = opcodeBytes(draft);
  const modrm = modrmBytes(draft);
  const immediateSize = draft.immediates.reduce((sum, bytes) => sum + bytes.length, 0);
  let length = front.length + rex.length + opcode.length + modrm.length + immediateSize;
  if (chance(random, 0.02)) {
    // As long as an instruction may be, and at times one byte longer, which raises #GP.
    const wanted = chance(random, 0.2) ? MAX_LENGTH + 1 : MAX_LENGTH;
    while (length < wanted) {
      front.unshift(random.pick(IGNORED_PREFIXES[draft.bits]));
      length++;
    }
  }
  const address = place(draft, length);
  const next = address + length;
  if (draft.memory?.ripRelative) {
    const relativeTo = draft.bits === 64 ? BigInt(next) : 0n;
    modrm.splice(1, 4, ...little(Number(BigInt.asIntN(32, draft.target - relativeTo)), 4));
  }
  let branchTarget: number | null = null;
  const operand = row.operands.find((name) => name.startsWith('J'));
  if (operand !== undefined) {
    const distance = branchDistance(draft, next, immediateSize);
    branchTarget = next + distance;
    if (draft.bits === 32) branchTarget = Number(BigInt.asUintN(8 * draft.operandSizeBytes, BigInt(branchTarget)));
    if (branchTarget >= address && branchTarget < next) return null;
    draft.immediates = [Uint8Array.from(little(distance, immediateSize))];
  }
  const immediates = draft.immediates.flatMap((bytes) => [...bytes]);
  return { code: Uint8Array.of(...front, ...rex, ...opcode, ...modrm, ...immediates), address, branchTarget };
}

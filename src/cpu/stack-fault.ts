/** Which exception an address that is not canonical gives: #SS or #GP (SDM vol. 1 §3.3.7.1). */
import type { Decoder } from './isa/decoder.ts';
import { CODE_KEY, GPR, RAM_BASE, STATE } from './layout.ts';
import { ACCESS, type MemoryUnit } from './memory-unit.ts';

/** Instructions that use the stack without a memory operand saying so, and how far from the stack pointer. */
const IMPLIED_STACK: ReadonlySet<string> = new Set([
  ...['PUSH', 'POP', 'PUSHF', 'POPF', 'PUSH_SREG', 'POP_SREG', 'CALL', 'RET', 'CALLF', 'RETF', 'IRET'],
]);
const STACK_REACH = 64;
const SP = STATE.GPR + GPR.RSP;

/**
 * Whether the access that faulted was one through the stack pointer, implied or as the base of the memory operand, or through RBP
 * (SDM vol. 1 table 3-5). The instruction is at this offset of the page that code runs in.
 */
export function isStackFault(mmu: MemoryUnit, d: Decoder, start: number): boolean {
  const { words, nonCanonicalLow, nonCanonicalHigh } = mmu;
  d.key = CODE_KEY.LONG;
  if (!decodeAgain(mmu, d, start)) return false;
  const sp = SP >> 2;
  const borrow = nonCanonicalLow >>> 0 < (words[sp] as number) >>> 0 ? 1 : 0;
  const distance = (nonCanonicalLow - (words[sp] as number)) | 0;
  const distanceHigh = (nonCanonicalHigh - (words[sp + 1] as number) - borrow) | 0;
  const nearStack = distanceHigh === distance >> 31 && distance >= -STACK_REACH && distance < STACK_REACH;
  const { mnemonic, modrm } = d.row;
  if (mnemonic === 'LEAVE' || mnemonic === 'ENTER' || (IMPLIED_STACK.has(mnemonic) && nearStack)) return true;
  return modrm && d.mod !== 3 && d.segment < 0 && (d.base === SP || d.base === STATE.GPR + GPR.RBP);
}

/** Decodes the instruction at an offset of the current page once more. */
function decodeAgain(mmu: MemoryUnit, d: Decoder, start: number): boolean {
  const { words, bytes, userBit } = mmu;
  const pageLow = words[STATE.CODE_PAGE >> 2] as number;
  const high = words[(STATE.CODE_PAGE >> 2) + 1] as number;
  const page = mmu.translate(pageLow, high, ACCESS.FETCH | userBit);
  if (page < 0) return false;
  const code = new Uint8Array(32);
  const inFirst = Math.min(16, 4096 - start);
  code.set(bytes.subarray(RAM_BASE + page + start, RAM_BASE + page + start + inFirst));
  if (d.decode(0, inFirst, code) > 0) return true;
  const nextLow = (pageLow + 0x1000) | 0;
  const next = mmu.translate(nextLow, mmu.highAfter(pageLow, high, 0x1000), ACCESS.FETCH | userBit);
  if (next < 0) return false;
  code.set(bytes.subarray(RAM_BASE + next, RAM_BASE + next + 16 - inFirst), inFirst);
  return d.decode(0, 16, code) > 0;
}

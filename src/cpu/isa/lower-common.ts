/** What the lowerings of all families share. */
import type { Size } from '../layout.ts';
import { JMP } from '../uops/control.ts';
import { type HelperName, helperNumber } from './helper-names.ts';
import type { Encoding } from './table.ts';
import { TEMP_ADDRESS, type Translator } from './translator.ts';

export type Lowering = (t: Translator, row: Encoding) => void;

/** The size that an operand's second letter names. */
export function sizeOf(t: Translator, operand: string): Size {
  if (operand === 'AL') return 0;
  if (operand === 'rAX') return t.d.operandSize;
  if (operand === 'eAX') return t.d.operandSize === 3 ? 2 : t.d.operandSize;
  switch (operand[1]) {
    case 'b':
      return 0;
    case 'w':
      return 1;
    case 'd':
      return 2;
    default:
      return t.d.operandSize;
  }
}

/** Options of the helper writeSegment: further records of the instruction follow; an interrupt may come right after it. */
export const WRITE_SEGMENT = { GOES_ON: 1, NO_SHADOW: 2 } as const;

/** The register that the opcode's low three bits name. */
export const zRegister = (t: Translator, size: Size): number =>
  t.d.register((t.d.opcode & 7) | ((t.d.rex & 1) << 3), size);

/** The call of a helper that may change what runs next ends the block. */
export function helper(
  t: Translator,
  name: HelperName,
  options: { a?: number; b?: number; c?: number; high?: number; ends?: boolean } = {},
): void {
  t.helper(helperNumber(name), options.a ?? 0, options.b ?? 0, options.c ?? 0, options.high ?? 0);
  if (options.ends) endBlock(t);
}

/** Goes on at the next instruction through a branch, so that a new look is taken at the state. */
export function endBlock(t: Translator): void {
  t.put(JMP, 0, 0, t.count, 0, t.nextOffset);
  t.count = 0;
  t.ended = true;
}

export function undefinedInstruction(t: Translator): void {
  helper(t, 'undefined', { ends: true });
}

export const simple =
  (name: HelperName, options: { ends?: boolean } = {}): Lowering =>
  (t) =>
    helper(t, name, { high: t.d.operandSize, ends: options.ends ?? false });

/** The helper gets the address of the memory operand, or the register's place with c = 1. */
export const systemRm =
  (name: HelperName, size: Size | null = null): Lowering =>
  (t) => {
    const s = size ?? t.d.operandSize;
    if (t.isRegister) helper(t, name, { a: t.rmRegister(s), b: t.d.reg, c: 1, high: t.d.operandSize, ends: true });
    else {
      t.addressForHelper();
      helper(t, name, { a: TEMP_ADDRESS, b: t.d.reg, c: 0, high: t.d.operandSize, ends: true });
    }
  };

/** SSE floating point: helpers do the arithmetic; a record names the operation by its place in the list of functions. */
import type { Size } from '../layout.ts';
import { HELPER } from '../uops/control.ts';
import { SSE_FLOAT } from '../uops/sse-float.ts';
import { helperNumber } from './helper-names.ts';
import { helper, type Lowering } from './lower-common.ts';
import { beginSse, markWritten, mmx, operandSize, qSource, wSource, xmm } from './simd-operands.ts';
import { SSE_FUNCTION_NAMES, type SseFunctionName } from './sse-function-names.ts';
import type { Encoding } from './table.ts';
import type { Translator } from './translator.ts';

const functionNumber = (name: SseFunctionName): number => SSE_FUNCTION_NAMES.indexOf(name);

interface Float {
  readonly a: number;
  readonly b: number;
  readonly name: SseFunctionName;
}

/** The micro-operation that does most of them, or the helper that does all: their records are the same. */
function put(t: Translator, helper: 'sse' | 'sseToFlags', { a, b, name }: Float): void {
  const operation = SSE_FLOAT[name] ?? HELPER;
  t.put(operation, a, b, functionNumber(name), helperNumber(helper), t.d.immediate & 0xff);
}

function float(t: Translator, { a, b, name }: Float): void {
  put(t, 'sse', { a, b, name });
}

/** Operations whose destination is in ModRM.reg and whose name is the function's. */
function sseArithmetic(t: Translator, row: Encoding): void {
  beginSse(t);
  const b = wSource(t, operandSize(t, row.operands[1] as string));
  float(t, { a: xmm(t.d.reg), b, name: row.mnemonic.toLowerCase() as SseFunctionName });
}

/** Conversions from a general register or memory. */
function fromGeneral(t: Translator, row: Encoding): void {
  beginSse(t);
  const size: Size = t.d.operandSize === 3 ? 3 : 2;
  const name = `${row.mnemonic.toLowerCase()}${size === 3 ? 64 : 32}` as SseFunctionName;
  float(t, { a: xmm(t.d.reg), b: t.readRm(size), name });
}

function toGeneral(t: Translator, row: Encoding): void {
  beginSse(t);
  const name = `${row.mnemonic.toLowerCase()}${t.d.operandSize === 3 ? 64 : 32}` as SseFunctionName;
  const b = wSource(t, operandSize(t, row.operands[1] as string));
  float(t, { a: t.gRegister(3), b, name });
}

/** CVTPI2PS and CVTPI2PD: an MMX register as source makes the x87 unit an MMX unit, memory does not. */
function fromMmx(t: Translator, row: Encoding): void {
  beginSse(t);
  if (t.isRegister) {
    helper(t, 'mmxCheck');
    helper(t, 'mmxUse');
  }
  const b = qSource(t);
  float(t, { a: xmm(t.d.reg), b, name: row.mnemonic.toLowerCase() as SseFunctionName });
}

function toMmx(t: Translator, row: Encoding): void {
  beginSse(t);
  helper(t, 'mmxCheck');
  const a = mmx(t.d.reg);
  const b = wSource(t, operandSize(t, row.operands[1] as string));
  helper(t, 'mmxUse');
  float(t, { a, b, name: row.mnemonic.toLowerCase() as SseFunctionName });
  markWritten(t, a);
}

function compareToFlags(t: Translator, row: Encoding): void {
  beginSse(t);
  const b = wSource(t, operandSize(t, row.operands[1] as string));
  put(t, 'sseToFlags', { a: xmm(t.d.reg), b, name: row.mnemonic.toLowerCase() as SseFunctionName });
}

/** One lowering under several names. */
export function byMnemonic(names: readonly string[], lowering: Lowering): Record<string, Lowering> {
  return Object.fromEntries(names.map((name) => [name, lowering]));
}

const FLOAT_MNEMONICS = SSE_FUNCTION_NAMES.filter((name) => !/^u?comis|si2s|2si|2pi|pi2p/.test(name)).map((name) =>
  name.toUpperCase(),
);

export const SSE_FLOAT_LOWERINGS: Readonly<Record<string, Lowering>> = {
  ...byMnemonic(FLOAT_MNEMONICS, sseArithmetic),
  ...byMnemonic(['CVTSI2SS', 'CVTSI2SD'], fromGeneral),
  ...byMnemonic(['CVTSS2SI', 'CVTSD2SI', 'CVTTSS2SI', 'CVTTSD2SI'], toGeneral),
  ...byMnemonic(['CVTPI2PS', 'CVTPI2PD'], fromMmx),
  ...byMnemonic(['CVTPS2PI', 'CVTPD2PI', 'CVTTPS2PI', 'CVTTPD2PI'], toMmx),
  ...byMnemonic(['COMISS', 'COMISD', 'UCOMISS', 'UCOMISD'], compareToFlags),
};

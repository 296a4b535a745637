import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE_BASE, CODE_SIZE, DATA_SIZE, STATE, type TestCase } from '../case.ts';
import { createGenerator } from './generate.ts';
import { type EncodingRow, rowGroups } from './rows.ts';
import { isHostMemory } from './semantics.ts';

const COUNT = 10_000;
const generator = createGenerator(7);
const cases: readonly TestCase[] = Array.from({ length: COUNT }, (_, i) => generator.generate(i));

const rowOf = ({ details }: TestCase): EncodingRow => {
  assert(details);
  return details.row;
};

test('seed and number make the case, whatever came before', () => {
  const again = createGenerator(7).generate(1234);
  assert.deepEqual(again.code, cases[1234]?.code);
  assert.deepEqual(again.state.bytes, cases[1234]?.state.bytes);
  assert.deepEqual(again.patches, cases[1234]?.patches);
  assert.notDeepEqual(createGenerator(8).generate(1234).state.bytes, again.state.bytes);
});

test('every group of encodings has its cases', () => {
  const seen = new Set(cases.map((testCase) => `${rowOf(testCase).map} ${testCase.mnemonic}`));
  const missing = rowGroups()
    .map((group) => `${group[0]?.map} ${group[0]?.mnemonic}`)
    .filter((name) => !seen.has(name));
  assert.deepEqual([...new Set(missing)], []);
});

test('an instruction is at most one byte too long, and lies in the code area', () => {
  for (const { code, state } of cases) {
    const offset = Number(state.control[0]) - CODE_BASE;
    assert(code.length >= 1 && code.length <= 16);
    assert(offset >= 0 && offset < CODE_SIZE);
    assert.equal(state.bytes.length, STATE.SIZE);
  }
  assert(cases.some(({ code }) => code.length === 15));
  assert(cases.some(({ code }) => code.length === 16));
});

test('patches lie in the data area', () => {
  for (const { patches } of cases) {
    for (const { offset, bytes } of patches) assert(offset >= 0 && offset + bytes.length <= DATA_SIZE);
  }
});

test('no memory operand is in the memory of the process that runs the cases', () => {
  for (const { details } of cases) assert(!isHostMemory(details?.address ?? 0n));
});

/** ModRM and SIB of the cases that have no prefix and a one-byte opcode with a memory operand. */
function plainForms(): { mod: number; rm: number; sib: number | null }[] {
  return cases
    .filter((testCase) => rowOf(testCase).map === 0 && rowOf(testCase).modrm)
    .filter(({ code, details }) => code[0] === details?.row.opcode && code.length > 2)
    .map(({ code }) => {
      const modrm = code[1] as number;
      const sib = modrm < 0xc0 && (modrm & 7) === 4 ? (code[2] as number) : null;
      return { mod: modrm >> 6, rm: modrm & 7, sib };
    });
}

test('all forms of addressing occur', () => {
  const forms = plainForms();
  for (const mod of [0, 1, 2]) assert(forms.some((form) => form.mod === mod && form.sib === null));
  assert(
    forms.some(({ mod, rm }) => mod === 0 && rm === 5),
    'relative to RIP',
  );
  assert(
    forms.some(({ mod, sib }) => mod === 0 && sib === 0x25),
    'absolute',
  );
  assert(
    forms.some(({ mod, sib }) => mod === 0 && sib !== null && (sib & 7) === 5 && sib >> 3 !== 4),
    'no base',
  );
  assert(
    forms.some(({ sib }) => sib !== null && (sib & 0x3f) === 0x24),
    'base RSP',
  );
  for (const scale of [0, 1, 2, 3]) assert(forms.some(({ sib }) => sib !== null && sib >> 6 === scale));
  assert(
    forms.some(({ mod, rm }) => mod === 1 && rm === 5),
    'base RBP',
  );
});

test('a locked operand is aligned, so that no access is split', () => {
  const locked = cases.filter(({ code, details }) => code.includes(0xf0) && details?.row.attributes.lock);
  const misaligned = locked.filter(({ code, details }) => {
    const prefixes = code.subarray(
      0,
      code.findIndex((byte) => (byte & 0xf0) === 0x40 || byte === 0x0f),
    );
    if (!details || details.address === null || !prefixes.includes(0xf0)) return false;
    // What addresses of 16 bits reach is not mapped: there is no access.
    if (details.addressSizeBytes === 2) return false;
    return details.address % BigInt(Math.min(16, details.operandBytes)) !== 0n;
  });
  assert(locked.length > 100);
  assert.deepEqual(misaligned, []);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { X87_VECTORS } from './vectors/x87-vectors.ts';
import {
  emms,
  enterMmx,
  fullTagWord,
  isDefined,
  markMmxWritten,
  readFxsave,
  STATUS,
  setControl,
  WORD,
  writeFxsave,
  X87,
  X87_LAYOUT,
  X87State,
} from './x87.ts';

function createUnit(): X87 {
  const unit = new X87(new X87State(new ArrayBuffer(X87_LAYOUT.SIZE_BYTES), 0));
  unit.execute(0xdb, 0xe3);
  return unit;
}

/** Writes hexadecimal digits, most significant first, as little-endian bytes. */
function putHex(bytes: Uint8Array, offset: number, hex: string): void {
  for (let i = 0; i * 2 < hex.length; i++) {
    bytes[offset + i] = Number.parseInt(hex.slice(hex.length - 2 * i - 2, hex.length - 2 * i), 16);
  }
}

function takeHex(bytes: Uint8Array, offset: number, count: number): string {
  return Buffer.from(bytes.subarray(offset, offset + count))
    .reverse()
    .toString('hex');
}

const ENVIRONMENT = { CONTROL: 0, STATUS: 4, TAGS: 8, REGISTERS: 28 } as const;
const FRSTOR = [0xdd, 0x20] as const;
const FNSAVE = [0xdd, 0x30] as const;

/** One bit a register: empty. */
function emptyRegisters(tags: number): number {
  let bits = 0;
  for (let i = 0; i < 8; i++) if (((tags >>> (2 * i)) & 3) === 3) bits |= 1 << i;
  return bits;
}

test('every x87 instruction gives the registers, flags and stores of a processor', () => {
  const unit = createUnit();
  const { state } = unit;
  for (const line of X87_VECTORS) {
    const [before, after] = line.split(' > ').map((half) => half.split(' ')) as [string[], string[]];
    const [code, control, status, tags, st0, st1, st2, st3, operand, flags] = before as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    state.memory.fill(0);
    putHex(state.memory, ENVIRONMENT.CONTROL, control);
    putHex(state.memory, ENVIRONMENT.STATUS, status);
    putHex(state.memory, ENVIRONMENT.TAGS, tags);
    [st0, st1, st2, st3].forEach((register, i) => {
      putHex(state.memory, ENVIRONMENT.REGISTERS + 10 * i, register);
    });
    unit.execute(...FRSTOR);
    if (operand !== '-') putHex(state.memory, 0, operand);
    state.flagsIn = Number.parseInt(flags, 16);
    state.flagsOut = state.flagsIn;
    const vector = unit.execute(Number.parseInt(code.slice(0, 2), 16), Number.parseInt(code.slice(2), 16));
    const stored = state.storeSizeBytes === 0 ? '-' : takeHex(state.memory, 0, state.storeSizeBytes);
    const flagsOut = state.flagsOut.toString(16);
    unit.execute(...FNSAVE);
    const empty = emptyRegisters(Number.parseInt(takeHex(state.memory, ENVIRONMENT.TAGS, 2), 16)).toString(16);
    const actual = [
      vector,
      takeHex(state.memory, ENVIRONMENT.STATUS, 2),
      empty,
      takeHex(state.memory, ENVIRONMENT.REGISTERS, 10),
      takeHex(state.memory, ENVIRONMENT.REGISTERS + 10, 10),
      stored,
      flagsOut,
    ].join(' ');
    const expected = [...after];
    expected[2] = emptyRegisters(Number.parseInt(after[2]!, 16)).toString(16);
    assert.equal(actual, expected.join(' '), line);
  }
});

test('FDECSTP and FINCSTP turn the stack without changing contents or tags', () => {
  const unit = createUnit();
  const { state } = unit;
  unit.execute(0xd9, 0xe8);
  const tags = state.words[WORD.TAGS];
  unit.execute(0xd9, 0xf6);
  assert.equal((state.words[WORD.STATUS]! & STATUS.TOP) >>> STATUS.TOP_SHIFT, 6);
  unit.execute(0xd9, 0xf7);
  assert.equal((state.words[WORD.STATUS]! & STATUS.TOP) >>> STATUS.TOP_SHIFT, 7);
  assert.equal(state.words[WORD.TAGS], tags);
});

test('undefined encodings raise invalid opcode and change nothing', () => {
  const unit = createUnit();
  for (let opcode = 0xd8; opcode <= 0xdf; opcode++) {
    for (let modrm = 0; modrm < 0x100; modrm++) {
      const before = unit.state.words.slice();
      if (isDefined(opcode, modrm)) continue;
      assert.equal(unit.execute(opcode, modrm), 6, `${opcode.toString(16)} ${modrm.toString(16)}`);
      assert.deepEqual(unit.state.words, before);
    }
  }
});

test('a pending unmasked exception stops waiting instructions and not the control ones', () => {
  const unit = createUnit();
  const { state } = unit;
  setControl(state, 0x37e);
  unit.execute(0xd9, 0xfa);
  assert.equal(state.words[WORD.STATUS]! & STATUS.ERROR_SUMMARY, STATUS.ERROR_SUMMARY);
  assert.equal(unit.execute(0xd9, 0xe8), 16);
  assert.equal(unit.execute(0xdf, 0xe0), 0);
  assert.equal(state.ax & 0x41, 0x41);
  assert.equal(unit.execute(0xdb, 0xe2), 0);
  assert.equal(unit.execute(0xd9, 0xe8), 0);
});

test('memory operands have the sizes and directions of the manual', () => {
  assert.deepEqual(X87.memoryOperand(0xd9, 0x00), { sizeBytes: 4, access: 'load' });
  assert.deepEqual(X87.memoryOperand(0xdb, 0x38), { sizeBytes: 10, access: 'store' });
  assert.deepEqual(X87.memoryOperand(0xdd, 0x30), { sizeBytes: 108, access: 'store' });
  assert.deepEqual(X87.memoryOperand(0xdd, 0x30, true), { sizeBytes: 94, access: 'store' });
  assert.deepEqual(X87.memoryOperand(0xd9, 0x30, true), { sizeBytes: 14, access: 'store' });
  assert.deepEqual(X87.memoryOperand(0xdd, 0x28), { sizeBytes: 0, access: 'none' });
});

test('the FXSAVE image restores what it saved, with registers in stack order', () => {
  const unit = createUnit();
  unit.execute(0xd9, 0xeb);
  unit.execute(0xd9, 0xe8);
  unit.instructionPointerHigh = 0x7fff;
  unit.execute(0xd9, 0xe8);
  const image = new Uint8Array(512).fill(0xaa);
  writeFxsave(unit.state, image, true);
  assert.equal(takeHex(image, 0, 6), '00e02800037f');
  assert.equal(takeHex(image, 12, 4), '00007fff');
  assert.equal(takeHex(image, 32, 10), '3fff8000000000000000');
  assert.equal(takeHex(image, 64, 10), '4000c90fdaa22168c235');
  assert.equal(image[24], 0xaa);
  assert.equal(image[160], 0xaa);
  const other = createUnit();
  readFxsave(other.state, image, true);
  assert.deepEqual(other.state.words, unit.state.words);
});

test('the 16-bit environment restores what it saved', () => {
  const unit = createUnit();
  unit.execute(0xd9, 0xee);
  unit.is16 = true;
  unit.execute(0xdd, 0x30);
  assert.equal(unit.state.storeSizeBytes, 94);
  assert.equal(takeHex(unit.state.memory, 0, 6), '7fff3800037f');
  assert.equal(fullTagWord(unit.state), 0xffff);
  unit.execute(0xdd, 0x20);
  assert.equal(fullTagWord(unit.state), 0x7fff);
});

test('an MMX instruction makes the stack valid with TOP 0, EMMS empties it', () => {
  const unit = createUnit();
  const { state } = unit;
  unit.execute(0xd9, 0xe8);
  enterMmx(state);
  state.words[4] = 0x12345678;
  markMmxWritten(state, 1);
  assert.equal(state.words[WORD.STATUS]! & STATUS.TOP, 0);
  assert.equal(state.words[WORD.TAGS], 0xff);
  assert.equal(state.words[6], 0xffff);
  emms(state);
  assert.equal(fullTagWord(state), 0xffff);
});

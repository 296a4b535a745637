import { buildElf } from './images.ts';

/** Where the sample is linked, as Debian's kernels are. */
export const SAMPLE_ADDRESS = 0x100_0000;

const CODE_BYTES = 2048;
const FUNCTION_BYTES = 32;

/**
 * Machine code as compressors see it: equal function starts, calls of one function from many places, bytes without a pattern,
 * and opcodes of CALL and JMP so close together that the x86 branch filter has to look back.
 */
function sampleCode(): Uint8Array {
  const code = new Uint8Array(CODE_BYTES);
  const view = new DataView(code.buffer);
  let seed = 1;
  for (let at = 0; at < CODE_BYTES; at += FUNCTION_BYTES) {
    code.set([0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0xe8], at);
    view.setInt32(at + 9, 0x400 - (at + 13), true);
    for (let i = 13; i < 18; i++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      code[at + i] = seed >>> 24;
    }
    code.set([0xe8, 0xe9, 0x00, 0xe8, 0xff, 0x00, 0xe9, 0x00, 0xff, 0xff, 0x00, 0x5d, 0xc3, 0xcc], at + 18);
  }
  return code;
}

/** A small vmlinux: code, and data with zeroed memory behind it. */
export function sampleKernel(): Uint8Array {
  return buildElf({
    segments: [
      { address: SAMPLE_ADDRESS, data: sampleCode() },
      { address: SAMPLE_ADDRESS + 0x1000, data: Buffer.from('data'), memoryBytes: 0x100 },
    ],
  });
}

/** Numbers of a linear congruential generator, each below `limit`. */
function* numbers(limit: number): Generator<number, never> {
  for (let seed = 1; ; ) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    yield Math.floor((seed / 2 ** 32) * limit);
  }
}

function bytesOf(length: number, limit: number, map: (number: number) => number): Uint8Array {
  const source = numbers(limit);
  return Uint8Array.from({ length }, () => map(source.next().value));
}

/** Little but what the x86 branch filter looks at: opcodes and sign bytes in every order. */
export function branchBytes(): Uint8Array {
  const choices = [0xe8, 0xe9, 0x00, 0xff, 0x12];
  return bytesOf(1000, choices.length, (number) => choices[number] as number);
}

/** Bytes that no compressor makes smaller: LZMA2 stores them. */
export function randomBytes(): Uint8Array {
  return bytesOf(300, 256, (number) => number);
}

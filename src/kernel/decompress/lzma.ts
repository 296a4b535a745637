import { CorruptDataError } from './corrupt-data-error.ts';
import { LzmaDecoder, parseLzmaProperties } from './lzma-decoder.ts';

/** Header of a .lzma file: properties byte, dictionary size (u32), decoded size (u64, all ones when unknown). */
const HEADER = { PROPERTIES: 0, SIZE: 5, BYTES: 13 } as const;
const UNKNOWN_SIZE = 0xffff_ffff_ffff_ffffn;

/** Decodes a .lzma ("LZMA alone") stream that yields exactly `output.length` bytes. Throws CorruptDataError. */
export function decompressLzma(input: Uint8Array, output: Uint8Array): void {
  if (input.length < HEADER.BYTES) throw new CorruptDataError('LZMA header is truncated');
  const view = new DataView(input.buffer, input.byteOffset, HEADER.BYTES);
  const size = view.getBigUint64(HEADER.SIZE, true);
  if (size !== UNKNOWN_SIZE && size !== BigInt(output.length)) {
    throw new CorruptDataError(`LZMA header promises ${size} bytes, ${output.length} are expected`);
  }
  const decoder = new LzmaDecoder(output);
  decoder.setProperties(parseLzmaProperties(view.getUint8(HEADER.PROPERTIES)));
  const endMarker = size === UNKNOWN_SIZE;
  decoder.decode(input, { start: HEADER.BYTES, end: input.length, outputEnd: output.length, endMarker });
  if (decoder.outputPosition !== output.length) {
    throw new CorruptDataError(`LZMA data holds ${decoder.outputPosition} bytes, ${output.length} are expected`);
  }
  // The format has no checksum; that the range coder comes out even is the one sign of sound data.
  if (endMarker && !decoder.finished) throw new CorruptDataError('LZMA data is corrupt at its end');
}

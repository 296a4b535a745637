import { CorruptDataError } from './corrupt-data-error.ts';

/**
 * Decoder of the LZ4 legacy frame, which Linux packs its kernels with. The usual npm packages for LZ4 read the later frame
 * format only.
 * Sources: lz4 doc/lz4_Frame_format.md, "Legacy frame"; doc/lz4_Block_format.md.
 *
 * Frame: magic, then blocks until the data ends: compressed size (u32), LZ4 block. A block yields 8 MiB, the last one less, and
 * refers to nothing outside itself. The magic may come again where a block size would stand (concatenated frames).
 */
const MAGIC = 0x184c2102;
const WORD_BYTES = 4;
const BLOCK_DECODED_BYTES_MAX = 8 * 2 ** 20;

/** A token holds the literal count in its high and the match length in its low 4 bits; 15 means that more bytes follow. */
const LENGTH_EXTENDED = 15;
const MATCH_LENGTH_MINIMUM = 4;
/** Runs shorter than this are copied by a loop: the call of a bulk copy costs more (measured). */
const BULK_COPY_BYTES = 16;

/** Bytes `start` to `end` of a buffer. */
interface Span {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

class BlockDecoder {
  readonly #input: Uint8Array;
  readonly #inputEnd: number;
  readonly #output: Uint8Array;
  readonly #outputStart: number;
  readonly #outputEnd: number;
  #position: number;
  #outputPosition: number;

  constructor(input: Span, output: Span) {
    this.#input = input.bytes;
    this.#inputEnd = input.end;
    this.#output = output.bytes;
    this.#outputStart = output.start;
    this.#outputEnd = output.end;
    this.#position = input.start;
    this.#outputPosition = output.start;
  }

  /** Returns where in the output the block's data ends. */
  decode(): number {
    for (;;) {
      const token = this.#byte();
      const literals = token >>> 4;
      this.#copyLiterals(literals === LENGTH_EXTENDED ? this.#extendedLength() : literals);
      // Only the last sequence of a block has no match.
      if (this.#position === this.#inputEnd) return this.#outputPosition;
      const offset = this.#byte() | (this.#byte() << 8);
      const length = token & 0x0f;
      this.#copyMatch(offset, (length === LENGTH_EXTENDED ? this.#extendedLength() : length) + MATCH_LENGTH_MINIMUM);
    }
  }

  #byte(): number {
    if (this.#position >= this.#inputEnd) throw new CorruptDataError('LZ4 block is truncated');
    return this.#input[this.#position++] as number;
  }

  #extendedLength(): number {
    let length = LENGTH_EXTENDED;
    for (;;) {
      const byte = this.#byte();
      length += byte;
      if (byte !== 0xff) return length;
    }
  }

  #copyLiterals(count: number): void {
    const from = this.#position;
    const to = this.#outputPosition;
    if (count > this.#inputEnd - from) throw new CorruptDataError('LZ4 block is truncated');
    if (count > this.#outputEnd - to) throw new CorruptDataError('LZ4 data is longer than announced');
    const input = this.#input;
    const output = this.#output;
    if (count < BULK_COPY_BYTES) for (let i = 0; i < count; i++) output[to + i] = input[from + i] as number;
    else output.set(input.subarray(from, from + count), to);
    this.#position = from + count;
    this.#outputPosition = to + count;
  }

  #copyMatch(offset: number, length: number): void {
    const to = this.#outputPosition;
    if (offset === 0 || offset > to - this.#outputStart)
      throw new CorruptDataError('LZ4 match reaches outside its block');
    if (length > this.#outputEnd - to) throw new CorruptDataError('LZ4 data is longer than announced');
    const output = this.#output;
    const end = to + length;
    // Byte by byte where source and target overlap: the match then repeats its last `offset` bytes.
    if (length >= BULK_COPY_BYTES && offset >= length) output.copyWithin(to, to - offset, end - offset);
    else for (let i = to; i < end; i++) output[i] = output[i - offset] as number;
    this.#outputPosition = end;
  }
}

/** Decodes an LZ4 legacy frame that fills `input` and yields exactly `output.length` bytes. Throws CorruptDataError. */
export function decompressLz4Legacy(input: Uint8Array, output: Uint8Array): void {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (input.length < WORD_BYTES || view.getUint32(0, true) !== MAGIC)
    throw new CorruptDataError('not an LZ4 legacy frame');
  let position = WORD_BYTES;
  let outputPosition = 0;
  while (position < input.length) {
    if (input.length - position < WORD_BYTES) throw new CorruptDataError('LZ4 block size is truncated');
    const compressedSize = view.getUint32(position, true);
    position += WORD_BYTES;
    if (compressedSize === MAGIC) continue;
    if (compressedSize === 0 || compressedSize > input.length - position) {
      throw new CorruptDataError(`LZ4 block of ${compressedSize} bytes, ${input.length - position} are there`);
    }
    const outputEnd = Math.min(outputPosition + BLOCK_DECODED_BYTES_MAX, output.length);
    const source = { bytes: input, start: position, end: position + compressedSize };
    outputPosition = new BlockDecoder(source, { bytes: output, start: outputPosition, end: outputEnd }).decode();
    position += compressedSize;
  }
  if (outputPosition !== output.length) {
    throw new CorruptDataError(`LZ4 data holds ${outputPosition} bytes, ${output.length} are expected`);
  }
}

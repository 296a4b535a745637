import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { undoBcjX86 } from './bcj-x86.ts';
import { CorruptDataError } from './corrupt-data-error.ts';
import { LzmaDecoder, parseLzmaProperties } from './lzma-decoder.ts';

/**
 * Decoder of .xz streams as Linux packs its kernels: one stream, filters x86 BCJ and LZMA2, check none, CRC32 or SHA-256.
 * Source: The .xz File Format 1.2.1 (tukaani.org/xz/xz-file-format.txt); LZMA2 chunks as in the LZMA SDK's Lzma2Dec.
 */

const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;
const FOOTER_MAGIC = [0x59, 0x5a] as const;
/** Stream header: magic, flags (2 bytes), CRC32 of the flags. The footer: CRC32, backward size, flags, magic. */
const STREAM = { FLAGS: 6, CRC32: 8, BYTES: 12 } as const;
const FOOTER = { BACKWARD_SIZE: 4, FLAGS: 8, MAGIC: 10, BYTES: 12 } as const;

/** Check types, section 2.1.1.2. */
const CHECK = { NONE: 0x00, CRC32: 0x01, SHA256: 0x0a } as const;
/** Block flags, section 3.1.2. */
const BLOCK = { FILTERS_MASK: 0x03, RESERVED_MASK: 0x3c, HAS_COMPRESSED_SIZE: 0x40, HAS_DECODED_SIZE: 0x80 } as const;
const FILTER = { X86: 0x04, LZMA2: 0x21 } as const;

/** LZMA2 control bytes: end, uncompressed chunk with and without dictionary reset, else an LZMA chunk with its resets. */
const CONTROL = {
  END: 0x00,
  COPY_RESET: 0x01,
  COPY: 0x02,
  LZMA: 0x80,
  STATE: 0xa0,
  PROPERTIES: 0xc0,
  DICTIONARY: 0xe0,
} as const;
/** LZMA2 allows no more literal context and position bits than this together. */
const LZMA2_LITERAL_BITS_MAX = 4;

interface BlockHeader {
  readonly branchFilter: boolean;
  readonly compressedSize: number | undefined;
  readonly decodedSize: number | undefined;
}

interface BlockRecord {
  readonly unpaddedSize: number;
  readonly decodedSize: number;
}

/** Reads the input in order; every read past its end is a CorruptDataError. */
class Reader {
  readonly bytes: Uint8Array;
  position = 0;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Moves over `count` bytes and returns where they start. */
  take(count: number): number {
    const start = this.position;
    if (count > this.bytes.length - start) throw new CorruptDataError('xz data is truncated');
    this.position = start + count;
    return start;
  }

  u8(): number {
    return this.#view.getUint8(this.take(1));
  }

  u16be(): number {
    return this.#view.getUint16(this.take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.take(4), true);
  }

  slice(count: number): Uint8Array {
    const start = this.take(count);
    return this.bytes.subarray(start, start + count);
  }

  /** A variable-length integer, section 1.2: 7 bits a byte, lowest first. Sizes of 2^53 and more are refused. */
  variable(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER || (byte === 0 && scale > 1))
        throw new CorruptDataError('xz integer is malformed');
      if (byte < 0x80) return value;
    }
  }

  /** Skips zero bytes until `position` is a multiple of 4 past `from`. */
  padding(from: number): void {
    while ((this.position - from) % 4 !== 0) {
      if (this.u8() !== 0) throw new CorruptDataError('xz padding is not zero');
    }
  }

  matches(expected: readonly number[]): boolean {
    const start = this.take(expected.length);
    return expected.every((byte, i) => this.bytes[start + i] === byte);
  }

  /** Compares the CRC32 that stands here with that of the bytes since `from`. */
  checkCrc32(from: number, what: string): void {
    const covered = this.bytes.subarray(from, this.position);
    if (this.u32() !== crc32(covered)) throw new CorruptDataError(`xz ${what} has a wrong CRC32`);
  }
}

function readStreamHeader(reader: Reader): number {
  if (!reader.matches(HEADER_MAGIC)) throw new CorruptDataError('not an xz stream');
  const flags = reader.u16be();
  reader.checkCrc32(STREAM.FLAGS, 'stream header');
  if (flags !== CHECK.NONE && flags !== CHECK.CRC32 && flags !== CHECK.SHA256) {
    throw new CorruptDataError(`xz stream flags 0x${flags.toString(16)} are not supported`);
  }
  return flags;
}

function readBlockHeader(reader: Reader): BlockHeader {
  const start = reader.position;
  const headerEnd = start + (reader.u8() + 1) * 4;
  if (headerEnd > reader.bytes.length) throw new CorruptDataError('xz data is truncated');
  const flags = reader.u8();
  if (flags & BLOCK.RESERVED_MASK) throw new CorruptDataError('xz block header has reserved flags');
  const compressedSize = flags & BLOCK.HAS_COMPRESSED_SIZE ? reader.variable() : undefined;
  const decodedSize = flags & BLOCK.HAS_DECODED_SIZE ? reader.variable() : undefined;
  const filters: number[] = [];
  for (let i = 0; i <= (flags & BLOCK.FILTERS_MASK); i++) {
    const id = reader.variable();
    const properties = reader.slice(reader.variable());
    filters.push(id);
    if (id === FILTER.X86 && properties.some((byte) => byte !== 0)) {
      throw new CorruptDataError('xz branch filter starts at an offset');
    }
  }
  const branchFilter = filters.length === 2 && filters[0] === FILTER.X86;
  if (filters.at(-1) !== FILTER.LZMA2 || (filters.length > 1 && !branchFilter)) {
    throw new CorruptDataError(`xz filter chain ${filters.join(', ')} is not supported`);
  }
  while (reader.position < headerEnd - 4) {
    if (reader.u8() !== 0) throw new CorruptDataError('xz block header is malformed');
  }
  if (reader.position !== headerEnd - 4) throw new CorruptDataError('xz block header is malformed');
  reader.checkCrc32(start, 'block header');
  return { branchFilter, compressedSize, decodedSize };
}

/** Decodes LZMA2 chunks up to their end mark. */
function decodeLzma2(reader: Reader, decoder: LzmaDecoder, outputSize: number): void {
  let needsDictionary = true;
  let needsProperties = true;
  for (;;) {
    const control = reader.u8();
    if (control === CONTROL.END) return;
    if (control === CONTROL.COPY_RESET || control >= CONTROL.DICTIONARY) {
      needsDictionary = false;
      needsProperties = true;
      decoder.resetDictionary();
    }
    if (needsDictionary || (control > CONTROL.COPY && control < CONTROL.LZMA)) {
      throw new CorruptDataError(`LZMA2 control byte 0x${control.toString(16)} may not stand here`);
    }
    const isLzma = control >= CONTROL.LZMA;
    const decodedSize = (isLzma ? (control & 0x1f) * 0x1_0000 : 0) + reader.u16be() + 1;
    if (decodedSize > outputSize - decoder.outputPosition) {
      throw new CorruptDataError(`xz data holds more than ${outputSize} bytes`);
    }
    if (!isLzma) {
      decoder.copyUncompressed(reader.slice(decodedSize));
      continue;
    }
    const packedSize = reader.u16be() + 1;
    if (control >= CONTROL.PROPERTIES) {
      const properties = parseLzmaProperties(reader.u8());
      if (properties.literalContextBits + properties.literalPositionBits > LZMA2_LITERAL_BITS_MAX) {
        throw new CorruptDataError('LZMA2 properties are out of range');
      }
      decoder.setProperties(properties);
      needsProperties = false;
    } else if (needsProperties) {
      throw new CorruptDataError('LZMA2 chunk without properties');
    } else if (control >= CONTROL.STATE) {
      decoder.resetState();
    }
    const start = reader.take(packedSize);
    const end = start + packedSize;
    decoder.decode(reader.bytes, { start, end, outputEnd: decoder.outputPosition + decodedSize, endMarker: false });
    if (decoder.position !== end || !decoder.finished) throw new CorruptDataError('LZMA2 chunk has a wrong size');
  }
}

function verifyCheck(reader: Reader, check: number, decoded: Uint8Array): void {
  if (check === CHECK.CRC32 && reader.u32() !== crc32(decoded)) {
    throw new CorruptDataError('xz block has a wrong CRC32');
  }
  if (check === CHECK.SHA256 && !createHash('sha256').update(decoded).digest().equals(reader.slice(32))) {
    throw new CorruptDataError('xz block has a wrong SHA-256');
  }
}

function decodeBlock(reader: Reader, check: number, decoder: LzmaDecoder, output: Uint8Array): BlockRecord {
  const blockStart = reader.position;
  const header = readBlockHeader(reader);
  const dataStart = reader.position;
  const outputStart = decoder.outputPosition;
  decodeLzma2(reader, decoder, output.length);
  const dataEnd = reader.position;
  const decoded = output.subarray(outputStart, decoder.outputPosition);
  if (header.branchFilter) undoBcjX86(decoded);
  if ((header.compressedSize ?? dataEnd - dataStart) !== dataEnd - dataStart) {
    throw new CorruptDataError('xz block header has a wrong compressed size');
  }
  if ((header.decodedSize ?? decoded.length) !== decoded.length) {
    throw new CorruptDataError('xz block header has a wrong decoded size');
  }
  reader.padding(dataStart);
  const checkStart = reader.position;
  verifyCheck(reader, check, decoded);
  return { unpaddedSize: dataEnd - blockStart + (reader.position - checkStart), decodedSize: decoded.length };
}

/** Index and footer, sections 4 and 2.1.2: they repeat the sizes of the blocks. */
function verifyIndex(reader: Reader, flags: number, blocks: readonly BlockRecord[]): void {
  const start = reader.position;
  reader.take(1);
  if (reader.variable() !== blocks.length) throw new CorruptDataError('xz index has a wrong number of blocks');
  for (const block of blocks) {
    if (reader.variable() !== block.unpaddedSize || reader.variable() !== block.decodedSize) {
      throw new CorruptDataError('xz index has a wrong size');
    }
  }
  reader.padding(start);
  reader.checkCrc32(start, 'index');
  const indexSize = reader.position - start;
  const footer = reader.slice(FOOTER.BYTES);
  const view = new DataView(footer.buffer, footer.byteOffset, FOOTER.BYTES);
  const intact =
    view.getUint32(0, true) === crc32(footer.subarray(FOOTER.BACKWARD_SIZE, FOOTER.MAGIC)) &&
    (view.getUint32(FOOTER.BACKWARD_SIZE, true) + 1) * 4 === indexSize &&
    view.getUint16(FOOTER.FLAGS) === flags &&
    FOOTER_MAGIC.every((byte, i) => footer[FOOTER.MAGIC + i] === byte);
  if (!intact) throw new CorruptDataError('xz footer is malformed');
}

/** Decodes the .xz stream at the start of `input`, which yields exactly `output.length` bytes. Throws CorruptDataError. */
export function decompressXz(input: Uint8Array, output: Uint8Array): void {
  const reader = new Reader(input);
  const flags = readStreamHeader(reader);
  const decoder = new LzmaDecoder(output);
  const blocks: BlockRecord[] = [];
  // A block header starts with its size, which is not zero; the index starts with a zero byte.
  while (input[reader.position] !== 0) blocks.push(decodeBlock(reader, flags, decoder, output));
  verifyIndex(reader, flags, blocks);
  if (decoder.outputPosition !== output.length) {
    throw new CorruptDataError(`xz data holds ${decoder.outputPosition} bytes, ${output.length} are expected`);
  }
}

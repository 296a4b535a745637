import { decompressBzip2 } from './bzip2.ts';
import { CorruptDataError } from './corrupt-data-error.ts';
import { decompressLz4Legacy } from './lz4-legacy.ts';
import { decompressLzma } from './lzma.ts';
import { decompressXz } from './xz.ts';
import { decompressGzip, decompressZstd } from './zlib-formats.ts';

/** A way in which Linux packs its kernel (scripts/Makefile.lib: cmd_gzip, cmd_bzip2, …). */
interface PayloadFormat {
  readonly name: string;
  /** The bytes every such payload starts with. */
  readonly magic: readonly number[];
  /**
   * Linux appends the decoded size as a u32 to all formats but gzip, whose own last word is just that (size_append). The decoder
   * gets the payload without an appended size.
   */
  readonly sizeAppended: boolean;
  /** Decodes `input` into exactly `sizeBytes` bytes, at least 1; never holds more. Throws CorruptDataError. */
  readonly decode: (input: Uint8Array, sizeBytes: number) => Uint8Array;
}

type DecodeInto = (input: Uint8Array, output: Uint8Array) => void;

function intoNewBuffer(decodeInto: DecodeInto): PayloadFormat['decode'] {
  return (input, sizeBytes) => {
    const output = new Uint8Array(sizeBytes);
    decodeInto(input, output);
    return output;
  };
}

const SIZE_WORD_BYTES = 4;

export const PAYLOAD_FORMATS: readonly PayloadFormat[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], sizeAppended: false, decode: decompressGzip },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], sizeAppended: true, decode: decompressZstd },
  {
    name: 'xz',
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
    sizeAppended: true,
    decode: intoNewBuffer(decompressXz),
  },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00], sizeAppended: true, decode: intoNewBuffer(decompressLzma) },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18], sizeAppended: true, decode: intoNewBuffer(decompressLz4Legacy) },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68], sizeAppended: true, decode: intoNewBuffer(decompressBzip2) },
];

/** The format that `payload` starts like; undefined when it is none that is known here (lzo, say). */
export function payloadFormat(payload: Uint8Array): PayloadFormat | undefined {
  return PAYLOAD_FORMATS.find(({ magic }) => magic.every((byte, i) => payload[i] === byte));
}

/** The decoded size that the payload's last word announces. Throws CorruptDataError. */
export function announcedSize(payload: Uint8Array): number {
  if (payload.length <= SIZE_WORD_BYTES) throw new CorruptDataError('the payload is too short');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const size = view.getUint32(payload.length - SIZE_WORD_BYTES, true);
  if (size === 0) throw new CorruptDataError('the payload announces that it is empty');
  return size;
}

/** Decodes `payload` into exactly `sizeBytes` bytes. Throws CorruptDataError. */
export function decodePayload(format: PayloadFormat, payload: Uint8Array, sizeBytes: number): Uint8Array {
  const input = format.sizeAppended ? payload.subarray(0, payload.length - SIZE_WORD_BYTES) : payload;
  return format.decode(input, sizeBytes);
}

import { assert } from '#util/assert.ts';
import { isSize } from '#util/bits.ts';

/**
 * Little-endian pieces from which the boot tables are put together: a table is a list of fields in the order of its
 * specification, joined by `concatBytes`. Values out of a field's range are mistakes of the program and assert.
 */

export function u8(value: number): Uint8Array {
  return unsigned(value, 1);
}

export function u16(value: number): Uint8Array {
  return unsigned(value, 2);
}

export function u32(value: number): Uint8Array {
  return unsigned(value, 4);
}

/** A 64-bit field from a safe integer; all that the boot tables hold there are addresses and sizes. */
export function u64(value: number): Uint8Array {
  return unsigned(value, 8);
}

function unsigned(value: number, sizeBytes: number): Uint8Array {
  assert(isSize(value) && value < 256 ** sizeBytes, 'value does not fit its field');
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0, rest = value; i < sizeBytes; i++, rest = Math.floor(rest / 256)) bytes[i] = rest % 256;
  return bytes;
}

/** Printable ASCII, filled up with `padding` (a blank by default) to `sizeBytes`. */
export function ascii(text: string, sizeBytes = text.length, padding = 0x20): Uint8Array {
  assert(/^[\x20-\x7e]*$/.test(text), 'text is not printable ASCII');
  assert(text.length <= sizeBytes, 'text does not fit its field');
  const bytes = new Uint8Array(sizeBytes).fill(padding);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function zeros(sizeBytes: number): Uint8Array {
  return new Uint8Array(sizeBytes);
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sizeBytes, part) => sizeBytes + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** The sum of all bytes modulo 256; zero for a range whose checksum byte is right. */
export function byteSum(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0);
}

/** Sets the byte at `checksumOffset` so that the bytes sum up to zero modulo 256. Returns the same array. */
export function sealChecksum(bytes: Uint8Array, checksumOffset: number): Uint8Array {
  assert(checksumOffset < bytes.length, 'the checksum lies outside the table');
  bytes[checksumOffset] = 0;
  bytes[checksumOffset] = -byteSum(bytes) & 0xff;
  return bytes;
}

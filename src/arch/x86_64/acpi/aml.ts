import { assert } from '#util/assert.ts';
import type { AddressRange } from '../layout.ts';
import { ascii, concatBytes, u8, u16, u32, u64, zeros } from '../table-bytes.ts';

/**
 * An encoder for the part of AML that the machine's tables use: ACPI 6.3 §20.2 (byte stream) and §6.4 (resource
 * descriptors). Each function gives the bytes of one term; terms nest by being passed on.
 */
export type Aml = Uint8Array;

const OP = {
  ZERO: 0x00,
  ONE: 0x01,
  NAME: 0x08,
  BYTE_PREFIX: 0x0a,
  WORD_PREFIX: 0x0b,
  DWORD_PREFIX: 0x0c,
  SCOPE: 0x10,
  BUFFER: 0x11,
  PACKAGE: 0x12,
  DUAL_NAME_PREFIX: 0x2e,
  MULTI_NAME_PREFIX: 0x2f,
  ROOT: 0x5c,
  EXTENSION: 0x5b,
  EXTENDED_DEVICE: 0x82,
} as const;

/** A name path such as `COM1`, `\_SB_` or `_SB_.PCI0`; §20.2.2. Segments of fewer than 4 characters are filled with `_`. */
export function namePath(path: string): Aml {
  const rooted = path.startsWith('\\');
  const segments = (rooted ? path.slice(1) : path).split('.').map(nameSegment);
  const prefix = rooted ? [u8(OP.ROOT)] : [];
  if (segments.length === 2) prefix.push(u8(OP.DUAL_NAME_PREFIX));
  if (segments.length > 2) prefix.push(u8(OP.MULTI_NAME_PREFIX), u8(segments.length));
  return concatBytes(...prefix, ...segments);
}

function nameSegment(segment: string): Aml {
  assert(/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment), 'not an ACPI name segment');
  return ascii(segment.padEnd(4, '_'));
}

/** An integer in its shortest form, up to 32 bits; §20.2.3. */
export function integer(value: number): Aml {
  if (value === 0) return u8(OP.ZERO);
  if (value === 1) return u8(OP.ONE);
  if (value <= 0xff) return concatBytes(u8(OP.BYTE_PREFIX), u8(value));
  if (value <= 0xffff) return concatBytes(u8(OP.WORD_PREFIX), u16(value));
  return concatBytes(u8(OP.DWORD_PREFIX), u32(value));
}

/** `Name (path, value)`. */
export function name(path: string, value: Aml): Aml {
  return concatBytes(u8(OP.NAME), namePath(path), value);
}

/** `Scope (path) { terms }`. */
export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return concatBytes(u8(OP.SCOPE), withLength(namePath(path), ...terms));
}

/** `Device (path) { terms }`. */
export function device(path: string, ...terms: readonly Aml[]): Aml {
  return concatBytes(u8(OP.EXTENSION), u8(OP.EXTENDED_DEVICE), withLength(namePath(path), ...terms));
}

/** `Package { elements }`. */
export function packageOf(...elements: readonly Aml[]): Aml {
  return concatBytes(u8(OP.PACKAGE), withLength(u8(elements.length), ...elements));
}

/** `Buffer { bytes }`. */
export function buffer(bytes: Uint8Array): Aml {
  return concatBytes(u8(OP.BUFFER), withLength(integer(bytes.length), bytes));
}

/** A package length that counts itself, in 1 to 4 bytes, then the contents; §20.2.4. */
function withLength(...contents: readonly Aml[]): Aml {
  const body = concatBytes(...contents);
  if (body.length + 1 <= 0x3f) return concatBytes(u8(body.length + 1), body);
  const extraBytes = [1, 2, 3].find((extra) => body.length + 1 + extra < 2 ** (4 + 8 * extra));
  assert(extraBytes !== undefined, 'an AML package exceeds 256 MiB');
  const length = body.length + 1 + extraBytes;
  const lead = Uint8Array.of((extraBytes << 6) | (length & 0xf), length >>> 4, length >>> 12, length >>> 20);
  return concatBytes(lead.subarray(0, 1 + extraBytes), body);
}

/** `EisaId ("PNP0501")`: three letters of 5 bits, four hexadecimal digits, the bytes swapped; §19.3.4. */
export function eisaId(id: string): Aml {
  assert(/^[A-Z]{3}[0-9A-F]{4}$/.test(id), 'not an EISA identifier');
  const letter = (index: number): number => id.charCodeAt(index) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  return integer(swapBytes(vendor) + swapBytes(product) * 0x10000);
}

function swapBytes(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}

/** `ResourceTemplate () { descriptors }`: a buffer that ends with the end tag and no checksum; §6.4.2.9. */
export function resourceTemplate(...descriptors: readonly Aml[]): Aml {
  return buffer(concatBytes(...descriptors, u8(0x79), zeros(1)));
}

/** `IO (Decode16, base, base, 1, length)`: §6.4.2.5. */
export function ioPorts(base: number, sizeBytes: number): Aml {
  return concatBytes(u8(0x47), u8(1), u16(base), u16(base), u8(1), u8(sizeBytes));
}

/** `Memory32Fixed (ReadWrite, base, length)`: §6.4.3.4. */
export function memory32Fixed({ start, sizeBytes }: AddressRange): Aml {
  const WRITABLE = 1;
  return concatBytes(u8(0x86), u16(9), u8(WRITABLE), u32(start), u32(sizeBytes));
}

/** General flags of an address space descriptor, §6.4.3.5: a bridge passes the range on, which begins and ends where it says. */
const PRODUCER_FIXED = 0x0c;
const SPACE = { MEMORY: 0, IO: 1, BUS_NUMBER: 2 } as const;
/** Of memory, §6.4.3.5.5: not cached, writable. Of ports, §6.4.3.5.5: the whole range, without ISA aliases. */
const SPACE_FLAGS = { MEMORY: 0x01, IO: 0x03, BUS_NUMBER: 0x00 } as const;

/** `WordBusNumber`: the buses `first` to `first + count - 1` behind a bridge; §6.4.3.5.3. */
export function busNumbers(first: number, count: number): Aml {
  return addressSpace(u16, { type: SPACE.BUS_NUMBER, flags: SPACE_FLAGS.BUS_NUMBER, start: first, sizeBytes: count });
}

/** `WordIO`: ports behind a bridge. */
export function ioWindow(range: AddressRange): Aml {
  return addressSpace(u16, { type: SPACE.IO, flags: SPACE_FLAGS.IO, ...range });
}

/** `DWordMemory`: memory below 4 GiB behind a bridge; §6.4.3.5.2. */
export function memoryWindow32(range: AddressRange): Aml {
  return addressSpace(u32, { type: SPACE.MEMORY, flags: SPACE_FLAGS.MEMORY, ...range });
}

/** `QWordMemory`: memory anywhere behind a bridge; §6.4.3.5.1. */
export function memoryWindow64(range: AddressRange): Aml {
  return addressSpace(u64, { type: SPACE.MEMORY, flags: SPACE_FLAGS.MEMORY, ...range });
}

/** The three descriptors differ in the width of their fields alone. */
function addressSpace(
  field: (value: number) => Aml,
  { type, flags, start, sizeBytes }: AddressRange & { readonly type: number; readonly flags: number },
): Aml {
  const fields = concatBytes(
    field(0), // granularity
    field(start),
    field(start + sizeBytes - 1),
    field(0), // translation
    field(sizeBytes),
  );
  const tag = { 10: 0x88, 20: 0x87, 40: 0x8a }[fields.length];
  assert(tag !== undefined, 'a field of 16, 32 or 64 bits');
  return concatBytes(u8(tag), u16(3 + fields.length), u8(type), u8(PRODUCER_FIXED), u8(flags), fields);
}

/** `IRQNoFlags () {irq}`: edge, active high, exclusive, as the ISA bus has it; §6.4.2.1. */
export function isaIrq(irq: number): Aml {
  assert(irq >= 0 && irq < 16, 'not an ISA interrupt');
  return concatBytes(u8(0x22), u16(1 << irq));
}

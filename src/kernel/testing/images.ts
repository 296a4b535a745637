/** Builders of small kernel images for tests and fuzzers. They write what the specifications say, or what a test asks for. */

export interface TestSegment {
  readonly address: number | bigint;
  readonly data: Uint8Array;
  /** Default: the length of `data`. */
  readonly memoryBytes?: number | bigint;
  /** Default: the length of `data`. */
  readonly fileBytes?: number | bigint;
  /** Default: right behind the data of the segment before. */
  readonly offset?: number | bigint;
  /** Default: PT_LOAD. */
  readonly type?: number;
}

export interface TestElf {
  readonly segments: readonly TestSegment[];
  /** Default: the first segment's address. */
  readonly entry?: number | bigint;
  readonly class?: number;
  readonly byteOrder?: number;
  readonly type?: number;
  readonly machine?: number;
  readonly programHeaderBytes?: number;
  readonly programHeaders?: number;
  readonly programHeaderOffset?: number | bigint;
}

const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;

/** An ELF64 file: header, program headers, then the segments' data. */
export function buildElf(elf: TestElf): Uint8Array {
  const { segments } = elf;
  const dataStart = ELF_HEADER_BYTES + segments.length * PROGRAM_HEADER_BYTES;
  const sizeBytes = segments.reduce((sum, segment) => sum + segment.data.length, dataStart);
  const file = new Uint8Array(sizeBytes);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, elf.class ?? 2, elf.byteOrder ?? 1, 1]);
  view.setUint16(16, elf.type ?? 2, true);
  view.setUint16(18, elf.machine ?? 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(elf.entry ?? segments[0]?.address ?? 0), true);
  view.setBigUint64(32, BigInt(elf.programHeaderOffset ?? ELF_HEADER_BYTES), true);
  view.setUint16(52, ELF_HEADER_BYTES, true);
  view.setUint16(54, elf.programHeaderBytes ?? PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, elf.programHeaders ?? segments.length, true);
  let offset = dataStart;
  segments.forEach((segment, i) => {
    const header = ELF_HEADER_BYTES + i * PROGRAM_HEADER_BYTES;
    const { data } = segment;
    view.setUint32(header, segment.type ?? 1, true);
    view.setBigUint64(header + 8, BigInt(segment.offset ?? offset), true);
    view.setBigUint64(header + 24, BigInt(segment.address), true);
    view.setBigUint64(header + 32, BigInt(segment.fileBytes ?? data.length), true);
    view.setBigUint64(header + 40, BigInt(segment.memoryBytes ?? data.length), true);
    file.set(data, offset);
    offset += data.length;
  });
  return file;
}

export interface TestBzImage {
  /** The compressed kernel with the size word that Linux appends (`appendSize`). */
  readonly payload: Uint8Array;
  readonly version?: number;
  readonly setupSectors?: number;
  readonly loadFlags?: number;
  readonly extendedLoadFlags?: number;
  readonly kernelAlignment?: number;
  readonly relocatable?: boolean;
  readonly preferredAddress?: bigint;
  readonly initBytes?: number;
  readonly payloadOffset?: number;
  readonly payloadBytes?: number;
  readonly paragraphs?: number;
  readonly headerJump?: number;
  readonly initrdAddressMax?: number;
}

/** Room for the decompressor's code before the payload. */
export const BZIMAGE_PAYLOAD_OFFSET = 0x400;

/** A bzImage: boot sector and setup code of `setupSectors`, a protected-mode part of 0xf4 (HLT) bytes, and the payload. */
export function buildBzImage(image: TestBzImage): Uint8Array {
  const setupBytes = ((image.setupSectors ?? 4) + 1) * 512;
  const protectedModeBytes = Math.ceil((BZIMAGE_PAYLOAD_OFFSET + image.payload.length) / 16) * 16;
  const file = new Uint8Array(setupBytes + protectedModeBytes);
  const view = new DataView(file.buffer);
  file.fill(0xf4, setupBytes, setupBytes + BZIMAGE_PAYLOAD_OFFSET);
  file.set(image.payload, setupBytes + BZIMAGE_PAYLOAD_OFFSET);
  view.setUint8(0x1f1, image.setupSectors ?? 4);
  view.setUint32(0x1f4, image.paragraphs ?? protectedModeBytes / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x200, 0xeb);
  view.setUint8(0x201, image.headerJump ?? 0x6a);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, image.version ?? 0x020f, true);
  view.setUint8(0x211, image.loadFlags ?? 0x01);
  view.setUint32(0x22c, image.initrdAddressMax ?? 0x7fff_ffff, true);
  view.setUint32(0x230, image.kernelAlignment ?? 0x20_0000, true);
  view.setUint8(0x234, image.relocatable === false ? 0 : 1);
  view.setUint16(0x236, image.extendedLoadFlags ?? 0x01, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x248, image.payloadOffset ?? BZIMAGE_PAYLOAD_OFFSET, true);
  view.setUint32(0x24c, image.payloadBytes ?? image.payload.length, true);
  view.setBigUint64(0x258, image.preferredAddress ?? 0x100_0000n, true);
  view.setUint32(0x260, image.initBytes ?? 0x10_0000, true);
  return file;
}

/** Adds the decoded size as Linux does. */
export function appendSize(compressed: Uint8Array, sizeBytes: number): Uint8Array {
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, sizeBytes, true);
  return Buffer.concat([compressed, word]);
}

/** An LZ4 legacy frame that stores `data` as literals. */
export function storeLz4Legacy(data: Uint8Array): Uint8Array {
  const blockBytes = 8 * 2 ** 20;
  const parts: Uint8Array[] = [Buffer.from([0x02, 0x21, 0x4c, 0x18])];
  for (let start = 0; start < data.length; start += blockBytes) {
    const block = storeLz4Block(data.subarray(start, start + blockBytes));
    const size = new Uint8Array(4);
    new DataView(size.buffer).setUint32(0, block.length, true);
    parts.push(size, block);
  }
  return Buffer.concat(parts);
}

function storeLz4Block(literals: Uint8Array): Uint8Array {
  if (literals.length < 15) return Buffer.concat([Buffer.from([literals.length << 4]), literals]);
  const rest = literals.length - 15;
  const lengthBytes = new Uint8Array(Math.floor(rest / 255) + 1).fill(255);
  lengthBytes[lengthBytes.length - 1] = rest % 255;
  return Buffer.concat([Buffer.from([0xf0]), lengthBytes, literals]);
}

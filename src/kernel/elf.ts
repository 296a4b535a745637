import { isSize } from '#util/bits.ts';
import { type GuestRam, LOW_MEMORY_END } from './guest-ram.ts';
import { type ImageSource, readRange } from './image-source.ts';
import { hex, KernelLoadError, type KernelLoadErrorCode } from './kernel-load-error.ts';
import { KERNEL_DEFAULTS, type LoadedKernel } from './loaded-kernel.ts';

/** ELF64 for x86-64: System V ABI, chapters 4 and 5 (gABI 4.1), and its AMD64 supplement. */
export const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;
/** e_ident: where class and byte order stand, and the values wanted. */
const IDENT = { CLASS: 4, DATA: 5, CLASS_64: 2, DATA_LITTLE_ENDIAN: 1 } as const;
/** Offsets in Elf64_Ehdr. */
const HEADER = { TYPE: 16, MACHINE: 18, ENTRY: 24, PHOFF: 32, PHENTSIZE: 54, PHNUM: 56, BYTES: 64 } as const;
/** Offsets in Elf64_Phdr. */
const PROGRAM_HEADER = { TYPE: 0, OFFSET: 8, PADDR: 24, FILESZ: 32, MEMSZ: 40, BYTES: 56 } as const;
const TYPE = { EXEC: 2, DYN: 3 } as const;
const MACHINE_X86_64 = 62;
const PT_LOAD = 1;
/** A vmlinux has five program headers. */
const PROGRAM_HEADERS_MAX = 128;

interface Segment {
  /** Position in the program header table, for messages. */
  readonly index: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

/**
 * A u64 as a number. Values from 2^53 on lose their low bits, which does not matter: sums and comparisons of doubles do not
 * wrap, and no such value passes a check against a file's or the RAM's size.
 */
function u64(view: DataView, offset: number): number {
  return Number(view.getBigUint64(offset, true));
}

export function isElf(start: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, i) => start[i] === byte);
}

/** Puts the loadable segments at their physical addresses. Throws KernelLoadError; then some may be written already. */
export function loadElf(source: ImageSource, ram: GuestRam): LoadedKernel {
  const fail = (code: KernelLoadErrorCode, problem: string): never => {
    throw new KernelLoadError(code, source.path, problem);
  };
  const header = readHeader(source, fail);
  const segments = readSegments(source, header, fail);
  const { first, last } = checkPlacement(segments, ram, fail);
  const inSegment = segments.some((s) => header.entry >= s.address && header.entry < s.address + s.fileBytes);
  if (!inSegment) fail('KERNEL_BAD_ENTRY', `the entry point ${hex(header.entry)} is in no segment`);
  for (const segment of segments) {
    const { address, offset, fileBytes, memoryBytes } = segment;
    source.copyTo(ram, { offset, address, sizeBytes: fileBytes });
    if (memoryBytes > fileBytes) ram.fill(address + fileBytes, memoryBytes - fileBytes, 0);
  }
  return {
    entry: header.entry,
    kernelStart: first.address,
    kernelEnd: last.address + last.memoryBytes,
    protocol: 'elf',
    initrdAddressMax: KERNEL_DEFAULTS.INITRD_ADDRESS_MAX,
    commandLineMaxBytes: KERNEL_DEFAULTS.COMMAND_LINE_MAX_BYTES,
  };
}

type Fail = (code: KernelLoadErrorCode, problem: string) => never;

interface Header {
  readonly entry: number;
  readonly tableOffset: number;
  readonly tableEntries: number;
}

function readHeader(source: ImageSource, fail: Fail): Header {
  const bytes = readRange(source, { offset: 0, sizeBytes: HEADER.BYTES, what: 'the ELF header' });
  const view = new DataView(bytes.buffer);
  if (!isElf(bytes)) fail('KERNEL_UNKNOWN_FORMAT', 'is not an ELF image');
  if (bytes[IDENT.CLASS] !== IDENT.CLASS_64) fail('KERNEL_WRONG_ARCHITECTURE', 'is not a 64-bit ELF image');
  if (bytes[IDENT.DATA] !== IDENT.DATA_LITTLE_ENDIAN) {
    fail('KERNEL_WRONG_ARCHITECTURE', 'is not a little-endian ELF image');
  }
  const machine = view.getUint16(HEADER.MACHINE, true);
  if (machine !== MACHINE_X86_64) {
    fail('KERNEL_WRONG_ARCHITECTURE', `is for ELF machine ${machine}, not x86-64 (${MACHINE_X86_64})`);
  }
  const type = view.getUint16(HEADER.TYPE, true);
  if (type !== TYPE.EXEC && type !== TYPE.DYN) fail('KERNEL_BAD_HEADER', `ELF type ${type} is not executable`);
  const entrySize = view.getUint16(HEADER.PHENTSIZE, true);
  const tableEntries = view.getUint16(HEADER.PHNUM, true);
  if (tableEntries === 0) fail('KERNEL_BAD_HEADER', 'has no program headers');
  if (entrySize !== PROGRAM_HEADER.BYTES) fail('KERNEL_BAD_HEADER', `program headers of ${entrySize} bytes`);
  if (tableEntries > PROGRAM_HEADERS_MAX) {
    fail('KERNEL_BAD_HEADER', `${tableEntries} program headers; at most ${PROGRAM_HEADERS_MAX} are read`);
  }
  return { entry: u64(view, HEADER.ENTRY), tableOffset: u64(view, HEADER.PHOFF), tableEntries };
}

function readSegments(source: ImageSource, header: Header, fail: Fail): Segment[] {
  const sizeBytes = header.tableEntries * PROGRAM_HEADER.BYTES;
  const table = readRange(source, { offset: header.tableOffset, sizeBytes, what: 'the program header table' });
  const segments: Segment[] = [];
  for (let index = 0; index < header.tableEntries; index++) {
    const view = new DataView(table.buffer, index * PROGRAM_HEADER.BYTES, PROGRAM_HEADER.BYTES);
    if (view.getUint32(PROGRAM_HEADER.TYPE, true) !== PT_LOAD) continue;
    const offset = u64(view, PROGRAM_HEADER.OFFSET);
    const fileBytes = u64(view, PROGRAM_HEADER.FILESZ);
    const memoryBytes = u64(view, PROGRAM_HEADER.MEMSZ);
    if (fileBytes > memoryBytes) {
      fail('KERNEL_BAD_SEGMENT', `segment ${index} has ${fileBytes} bytes in the file but ${memoryBytes} in memory`);
    }
    if (offset + fileBytes > source.sizeBytes) {
      const ends = `segment ${index} ends at byte ${offset + fileBytes}`;
      fail('KERNEL_TRUNCATED', `truncated: ${ends}, the image has ${source.sizeBytes}`);
    }
    if (memoryBytes === 0) continue;
    segments.push({ index, offset, address: u64(view, PROGRAM_HEADER.PADDR), fileBytes, memoryBytes });
  }
  return segments;
}

/** Returns the segments with the lowest and the highest address. */
function checkPlacement(segments: readonly Segment[], ram: GuestRam, fail: Fail): { first: Segment; last: Segment } {
  const ordered = segments.toSorted((a, b) => a.address - b.address);
  let previous: Segment | undefined;
  for (const segment of ordered) {
    const { index, address, memoryBytes } = segment;
    const range = `segment ${index} (${hex(address)} to ${hex(address + memoryBytes)})`;
    if (address < LOW_MEMORY_END) fail('KERNEL_BELOW_1MIB', `${range} is below 1 MiB`);
    if (!isSize(address + memoryBytes) || !ram.contains(address, memoryBytes)) {
      fail('KERNEL_OUTSIDE_RAM', `${range} is outside the machine's RAM`);
    }
    if (previous && previous.address + previous.memoryBytes > address) {
      fail('KERNEL_SEGMENTS_OVERLAP', `${range} overlaps segment ${previous.index}`);
    }
    previous = segment;
  }
  const first = ordered[0];
  if (!first || !previous) return fail('KERNEL_BAD_HEADER', 'has no loadable segment');
  return { first, last: previous };
}

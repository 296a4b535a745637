import { assert } from '#util/assert.ts';
import { high32, low32 } from '#util/bits.ts';
import type { E820Entry } from './e820.ts';
import { type AddressRange, ZERO_PAGE_SIZE } from './layout.ts';

/**
 * `struct boot_params`, the zero page: Linux Documentation/arch/x86/zero-page.rst and boot.rst (boot protocol 2.15).
 * Offsets are from the start of the page.
 */
const FIELD = {
  ACPI_RSDP_ADDR: 0x070,
  EXT_RAMDISK_IMAGE: 0x0c0,
  EXT_RAMDISK_SIZE: 0x0c4,
  EXT_CMD_LINE_PTR: 0x0c8,
  E820_ENTRIES: 0x1e8,
  SETUP_HEADER: 0x1f1,
  BOOT_FLAG: 0x1fe,
  HEADER_LENGTH: 0x201,
  HEADER_MAGIC: 0x202,
  VERSION: 0x206,
  TYPE_OF_LOADER: 0x210,
  LOADFLAGS: 0x211,
  RAMDISK_IMAGE: 0x218,
  RAMDISK_SIZE: 0x21c,
  CMD_LINE_PTR: 0x228,
  KERNEL_ALIGNMENT: 0x230,
  CMDLINE_SIZE: 0x238,
  SETUP_DATA: 0x250,
  E820_TABLE: 0x2d0,
} as const;

/** EDD's MBR signatures start here: the setup header ends before. */
const SETUP_HEADER_END_MAX = 0x290;
const E820_ENTRY_SIZE = 20;
const E820_ENTRIES_MAX = 128;

const BOOT_FLAG = 0xaa55;
/** `HdrS`. */
const HEADER_MAGIC = 0x5372_6448;
/** Given for a kernel that has no header of its own. */
const MINIMAL_HEADER = { LENGTH: 0x6a, VERSION: 0x020f, KERNEL_ALIGNMENT: 0x0100_0000 } as const;
const LOADER_UNDEFINED = 0xff;
const LOADED_HIGH = 0x01;
/** The protocol that brought setup_data; before it, the field was someone else's. */
const VERSION_SETUP_DATA = 0x0209;

export interface BootParams {
  readonly commandLineAddress: number;
  /** Without its NUL. */
  readonly commandLineSizeBytes: number;
  readonly e820: readonly E820Entry[];
  readonly acpiRsdpAddress: number;
  readonly initrd?: AddressRange;
  /** The setup header of a bzImage: its file's bytes from 0x1f1 to the header's end. None for an ELF file. */
  readonly setupHeader?: Uint8Array;
  /** Address of the first setup_data entry. */
  readonly setupDataAddress?: number;
}

/**
 * The 4096 bytes of the zero page. The setup header given is carried over, then the loader's fields are written into it.
 */
export function bootParamsPage(params: BootParams): Uint8Array {
  const { setupHeader } = params;
  const headerSizeMax = SETUP_HEADER_END_MAX - FIELD.SETUP_HEADER;
  assert(setupHeader === undefined || setupHeader.length <= headerSizeMax, 'the setup header exceeds its room');
  const page = new Uint8Array(ZERO_PAGE_SIZE);
  const view = new DataView(page.buffer);
  if (setupHeader === undefined) writeMinimalHeader(view);
  else page.set(setupHeader, FIELD.SETUP_HEADER);

  view.setUint8(FIELD.TYPE_OF_LOADER, LOADER_UNDEFINED);
  view.setUint8(FIELD.LOADFLAGS, view.getUint8(FIELD.LOADFLAGS) | LOADED_HIGH);
  setSplit(view, FIELD.CMD_LINE_PTR, FIELD.EXT_CMD_LINE_PTR, params.commandLineAddress);
  view.setUint32(FIELD.CMDLINE_SIZE, params.commandLineSizeBytes, true);
  if (params.initrd !== undefined) {
    setSplit(view, FIELD.RAMDISK_IMAGE, FIELD.EXT_RAMDISK_IMAGE, params.initrd.start);
    setSplit(view, FIELD.RAMDISK_SIZE, FIELD.EXT_RAMDISK_SIZE, params.initrd.sizeBytes);
  }
  view.setBigUint64(FIELD.ACPI_RSDP_ADDR, BigInt(params.acpiRsdpAddress), true);
  if (view.getUint16(FIELD.VERSION, true) >= VERSION_SETUP_DATA) {
    view.setBigUint64(FIELD.SETUP_DATA, BigInt(params.setupDataAddress ?? 0), true);
  }
  writeE820(view, params.e820);
  return page;
}

function writeMinimalHeader(view: DataView): void {
  view.setUint16(FIELD.BOOT_FLAG, BOOT_FLAG, true);
  view.setUint8(FIELD.HEADER_LENGTH, MINIMAL_HEADER.LENGTH);
  view.setUint32(FIELD.HEADER_MAGIC, HEADER_MAGIC, true);
  view.setUint16(FIELD.VERSION, MINIMAL_HEADER.VERSION, true);
  view.setUint32(FIELD.KERNEL_ALIGNMENT, MINIMAL_HEADER.KERNEL_ALIGNMENT, true);
}

function setSplit(view: DataView, lowField: number, highField: number, value: number): void {
  view.setUint32(lowField, low32(value), true);
  view.setUint32(highField, high32(value), true);
}

function writeE820(view: DataView, entries: readonly E820Entry[]): void {
  assert(entries.length <= E820_ENTRIES_MAX, 'more e820 entries than the zero page holds');
  view.setUint8(FIELD.E820_ENTRIES, entries.length);
  entries.forEach(({ start, sizeBytes, type }, index) => {
    const offset = FIELD.E820_TABLE + index * E820_ENTRY_SIZE;
    view.setBigUint64(offset, BigInt(start), true);
    view.setBigUint64(offset + 8, BigInt(sizeBytes), true);
    view.setUint32(offset + 16, type, true);
  });
}

import { isPowerOfTwo } from '#util/bits.ts';
import { type ImageSource, readRange } from './image-source.ts';
import { KernelLoadError, type KernelLoadErrorCode } from './kernel-load-error.ts';
import { KERNEL_DEFAULTS } from './loaded-kernel.ts';

/** The x86 boot protocol: Documentation/arch/x86/boot.rst of Linux, "The Real-Mode Kernel Header". Offsets are the file's. */
const FIELD = {
  SETUP_SECTS: 0x1f1,
  SYSSIZE: 0x1f4,
  BOOT_FLAG: 0x1fe,
  JUMP_LENGTH: 0x201,
  HEADER: 0x202,
  VERSION: 0x206,
  LOADFLAGS: 0x211,
  INITRD_ADDR_MAX: 0x22c,
  KERNEL_ALIGNMENT: 0x230,
  RELOCATABLE_KERNEL: 0x234,
  XLOADFLAGS: 0x236,
  CMDLINE_SIZE: 0x238,
  PAYLOAD_OFFSET: 0x248,
  PAYLOAD_LENGTH: 0x24c,
  PREF_ADDRESS: 0x258,
  INIT_SIZE: 0x260,
} as const;
const HEADER_START = FIELD.SETUP_SECTS;
/** The header starts with a jump over the rest of it, counted from here. */
const JUMP_ORIGIN = FIELD.HEADER;
/** boot_params has something else (edd_mbr_sig_buffer) from here on. */
const HEADER_END_MAX = 0x290;

const BOOT_FLAG = 0xaa55;
/** "HdrS" */
const HEADER_MAGIC = 0x53726448;
const LOADED_HIGH = 0x01;
const XLF_KERNEL_64 = 0x01;
const SECTOR_BYTES = 512;
/** What a setup_sects of 0 means. */
const SETUP_SECTS_DEFAULT = 4;
const PARAGRAPH_BYTES = 16;

/** Protocol versions, and up to where the header of each reaches at least. */
const VERSION = { OLDEST: 0x0206, PAYLOAD: 0x0208, INIT_SIZE: 0x020a, XLOADFLAGS: 0x020c } as const;
const HEADER_END_MINIMUM: readonly { readonly version: number; readonly end: number }[] = [
  { version: VERSION.OLDEST, end: FIELD.CMDLINE_SIZE + 4 },
  { version: VERSION.PAYLOAD, end: FIELD.PAYLOAD_LENGTH + 4 },
  { version: VERSION.INIT_SIZE, end: FIELD.INIT_SIZE + 4 },
];

export interface SetupHeader {
  /** The file's bytes from 0x1f1 to the header's end. */
  readonly bytes: Uint8Array;
  /** Where in the file the protected-mode part starts, and how long it is. */
  readonly protectedModeOffset: number;
  readonly protectedModeBytes: number;
  readonly initrdAddressMax: number;
  readonly commandLineMaxBytes: number;
  readonly kernelAlignment: number;
  readonly relocatable: boolean;
  /** The image says that it can be entered in 64-bit mode; undefined where the protocol is too old to say. */
  readonly hasEntry64: boolean | undefined;
  /** The compressed kernel, relative to the protected-mode part; undefined where the protocol or the image does not tell. */
  readonly payload: { readonly offset: number; readonly sizeBytes: number } | undefined;
  /** Where the image wants to lie and how much memory it takes there at first; undefined before protocol 2.10. */
  readonly preferred: { readonly address: number; readonly initBytes: number } | undefined;
}

/** True when the file's start holds a boot sector with the setup header's magic. */
export function isBzImage(start: Uint8Array): boolean {
  if (start.length < FIELD.VERSION) return false;
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  return view.getUint16(FIELD.BOOT_FLAG, true) === BOOT_FLAG && view.getUint32(FIELD.HEADER, true) === HEADER_MAGIC;
}

/** Reads and checks the setup header of a file for which `isBzImage` holds. Throws KernelLoadError. */
export function readSetupHeader(source: ImageSource): SetupHeader {
  const fail = (code: KernelLoadErrorCode, problem: string): never => {
    throw new KernelLoadError(code, source.path, problem);
  };
  const file = readRange(source, { offset: 0, sizeBytes: HEADER_END_MAX, what: 'the setup header' });
  const view = new DataView(file.buffer);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const version = view.getUint16(FIELD.VERSION, true);
  const versionText = `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
  if (version < VERSION.OLDEST) fail('KERNEL_OLD_PROTOCOL', `boot protocol ${versionText}; 2.06 or later is needed`);
  if ((view.getUint8(FIELD.LOADFLAGS) & LOADED_HIGH) === 0)
    fail('KERNEL_OLD_PROTOCOL', 'is a zImage, which loads below 1 MiB');
  const headerEnd = JUMP_ORIGIN + view.getUint8(FIELD.JUMP_LENGTH);
  if (HEADER_END_MINIMUM.some((minimum) => version >= minimum.version && headerEnd < minimum.end)) {
    fail('KERNEL_BAD_HEADER', `the setup header is too short for boot protocol ${versionText}`);
  }
  const kernelAlignment = u32(FIELD.KERNEL_ALIGNMENT);
  if (!isPowerOfTwo(kernelAlignment))
    fail('KERNEL_BAD_HEADER', `kernel_alignment ${kernelAlignment} is not a power of two`);
  const payloadBytes = version >= VERSION.PAYLOAD ? u32(FIELD.PAYLOAD_LENGTH) : 0;
  return {
    bytes: file.slice(HEADER_START, Math.min(headerEnd, HEADER_END_MAX)),
    ...protectedModePart(source, view, fail),
    initrdAddressMax: u32(FIELD.INITRD_ADDR_MAX) || KERNEL_DEFAULTS.INITRD_ADDRESS_MAX,
    commandLineMaxBytes: u32(FIELD.CMDLINE_SIZE),
    kernelAlignment,
    relocatable: view.getUint8(FIELD.RELOCATABLE_KERNEL) !== 0,
    hasEntry64:
      version >= VERSION.XLOADFLAGS ? (view.getUint16(FIELD.XLOADFLAGS, true) & XLF_KERNEL_64) !== 0 : undefined,
    payload: payloadBytes > 0 ? { offset: u32(FIELD.PAYLOAD_OFFSET), sizeBytes: payloadBytes } : undefined,
    preferred:
      version >= VERSION.INIT_SIZE
        ? { address: Number(view.getBigUint64(FIELD.PREF_ADDRESS, true)), initBytes: u32(FIELD.INIT_SIZE) }
        : undefined,
  };
}

function protectedModePart(
  source: ImageSource,
  view: DataView,
  fail: (code: KernelLoadErrorCode, problem: string) => never,
): { protectedModeOffset: number; protectedModeBytes: number } {
  const sectors = view.getUint8(FIELD.SETUP_SECTS) || SETUP_SECTS_DEFAULT;
  const protectedModeOffset = (sectors + 1) * SECTOR_BYTES;
  const available = source.sizeBytes - protectedModeOffset;
  const announced = view.getUint32(FIELD.SYSSIZE, true) * PARAGRAPH_BYTES;
  if (announced === 0) fail('KERNEL_BAD_HEADER', 'syssize is 0');
  // The size is in paragraphs; the file may end within the last one.
  if (available <= announced - PARAGRAPH_BYTES) {
    const ends = `the kernel ends at byte ${protectedModeOffset + announced}`;
    fail('KERNEL_TRUNCATED', `truncated: ${ends}, the file has ${source.sizeBytes}`);
  }
  return { protectedModeOffset, protectedModeBytes: Math.min(available, announced) };
}

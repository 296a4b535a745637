import { alignUp, isSize } from '#util/bits.ts';
import { CorruptDataError } from './decompress/corrupt-data-error.ts';
import { announcedSize, decodePayload, payloadFormat } from './decompress/payload.ts';
import { isElf, loadElf } from './elf.ts';
import { type GuestRam, LOW_MEMORY_END, ramSizeBytes } from './guest-ram.ts';
import { BufferSource, type ImageSource, readRange } from './image-source.ts';
import { hex, KernelLoadError } from './kernel-load-error.ts';
import type { LoadedKernel } from './loaded-kernel.ts';
import { readSetupHeader, type SetupHeader } from './setup-header.ts';

/** Entry of the 64-bit decompressor in the protected-mode part: boot.rst, "64-bit Boot Protocol". */
const ENTRY_64 = 0x200;
/** No Linux image is larger: KERNEL_IMAGE_SIZE, the window that the kernel is linked into. */
const KERNEL_IMAGE_BYTES_MAX = 2 ** 30;

/**
 * Loads a bzImage. Its kernel is decompressed here and loaded as the ELF image that it is, which a guest does not have to do
 * at its own speed. A kernel packed in an unknown way is loaded with its own decompressor, which is then the entry.
 */
export function loadBzImage(source: ImageSource, ram: GuestRam): LoadedKernel {
  const header = readSetupHeader(source);
  if (header.hasEntry64 === false) {
    throw new KernelLoadError('KERNEL_WRONG_ARCHITECTURE', source.path, 'is a 32-bit kernel');
  }
  const kernel = loadPayload(source, header, ram) ?? loadProtectedMode(source, header, ram);
  return {
    ...kernel,
    setupHeader: header.bytes,
    initrdAddressMax: header.initrdAddressMax,
    commandLineMaxBytes: header.commandLineMaxBytes,
  };
}

type Placed = Pick<LoadedKernel, 'entry' | 'kernelStart' | 'kernelEnd' | 'protocol'>;

/** Undefined when the payload is not of a format known here. */
function loadPayload(source: ImageSource, header: SetupHeader, ram: GuestRam): Placed | undefined {
  const { payload } = header;
  if (!payload) return undefined;
  if (payload.offset + payload.sizeBytes > header.protectedModeBytes) {
    const problem = `the payload ends at byte ${payload.offset + payload.sizeBytes} of ${header.protectedModeBytes}`;
    throw new KernelLoadError('KERNEL_BAD_HEADER', source.path, problem);
  }
  const limit = payloadLimit(header, ram);
  checkSize(source, { sizeBytes: payload.sizeBytes, limit, what: 'the compressed kernel has' });
  const offset = header.protectedModeOffset + payload.offset;
  const packed = readRange(source, { offset, sizeBytes: payload.sizeBytes, what: 'the payload' });
  const format = payloadFormat(packed);
  if (!format) return undefined;
  try {
    const sizeBytes = announcedSize(packed);
    checkSize(source, { sizeBytes, limit, what: 'the kernel unpacks to' });
    const image = decodePayload(format, packed, sizeBytes);
    if (!isElf(image)) throw new CorruptDataError('the unpacked kernel is not an ELF image');
    return { ...loadElf(new BufferSource(source.path, image), ram), protocol: 'bzimage-payload' };
  } catch (error) {
    if (!(error instanceof CorruptDataError)) throw error;
    const problem = `cannot unpack the kernel (${format.name}): ${error.message}`;
    throw new KernelLoadError('KERNEL_PAYLOAD_CORRUPT', source.path, problem, { cause: error });
  }
}

/** Linux unpacks within init_size bytes of RAM, so the unpacked kernel is not larger than either. */
function payloadLimit(header: SetupHeader, ram: GuestRam): number {
  return Math.min(header.preferred?.initBytes ?? Number.POSITIVE_INFINITY, ramSizeBytes(ram), KERNEL_IMAGE_BYTES_MAX);
}

function checkSize(source: ImageSource, check: { sizeBytes: number; limit: number; what: string }): void {
  if (check.sizeBytes <= check.limit) return;
  const problem = `${check.what} ${check.sizeBytes} bytes, but may have ${check.limit} (RAM and the header's init_size)`;
  throw new KernelLoadError('KERNEL_PAYLOAD_TOO_LARGE', source.path, problem);
}

function loadProtectedMode(source: ImageSource, header: SetupHeader, ram: GuestRam): Placed {
  if (!header.hasEntry64) {
    const problem = 'packed in an unknown way, and its boot protocol (before 2.12) has no 64-bit entry';
    throw new KernelLoadError('KERNEL_OLD_PROTOCOL', source.path, problem);
  }
  const { protectedModeOffset, protectedModeBytes } = header;
  if (protectedModeBytes <= ENTRY_64) {
    throw new KernelLoadError('KERNEL_BAD_ENTRY', source.path, 'ends before its 64-bit entry');
  }
  const sizeBytes = Math.max(protectedModeBytes, header.preferred?.initBytes ?? 0);
  const address = protectedModeAddress(source, header, { ram, sizeBytes });
  source.copyTo(ram, { offset: protectedModeOffset, address, sizeBytes: protectedModeBytes });
  return { entry: address + ENTRY_64, kernelStart: address, kernelEnd: address + sizeBytes, protocol: 'bzimage' };
}

/** The image's preferred address; a relocatable image may also go to the lowest suitable one. */
function protectedModeAddress(
  source: ImageSource,
  header: SetupHeader,
  place: { ram: GuestRam; sizeBytes: number },
): number {
  const { ram, sizeBytes } = place;
  const fits = (address: number): boolean => isSize(address + sizeBytes) && ram.contains(address, sizeBytes);
  const preferred = header.preferred?.address ?? LOW_MEMORY_END;
  if (preferred >= LOW_MEMORY_END && fits(preferred)) return preferred;
  const lowest = ram.regions
    .map(({ guestAddress }) => alignUp(Math.max(guestAddress, LOW_MEMORY_END), header.kernelAlignment))
    .find(fits);
  if (header.relocatable && lowest !== undefined) return lowest;
  if (preferred < LOW_MEMORY_END) {
    throw new KernelLoadError('KERNEL_BELOW_1MIB', source.path, `wants to lie at ${hex(preferred)}, below 1 MiB`);
  }
  const range = `${sizeBytes} bytes at ${hex(preferred)}`;
  throw new KernelLoadError('KERNEL_OUTSIDE_RAM', source.path, `needs ${range}, outside the machine's RAM`);
}

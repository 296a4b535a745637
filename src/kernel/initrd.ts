import { alignDown, alignUp } from '#util/bits.ts';
import { type GuestRam, LOW_MEMORY_END, ramSizeBytes } from './guest-ram.ts';
import { FileSource } from './image-source.ts';
import { KernelLoadError } from './kernel-load-error.ts';
import type { LoadedKernel } from './loaded-kernel.ts';

export interface LoadedInitrd {
  /** Page aligned. */
  readonly address: number;
  readonly sizeBytes: number;
}

const PAGE_BYTES = 4096;
/** A cpio archive that follows another one starts at a multiple of 4 (Documentation/driver-api/early-userspace/buffer-format). */
const ARCHIVE_ALIGNMENT = 4;

/** What of a loaded kernel decides where an initrd may lie. */
export type KernelPlacement = Pick<LoadedKernel, 'kernelStart' | 'kernelEnd' | 'initrdAddressMax'>;

/**
 * Loads the files one after the other, as high as fits below the kernel's limit and beside the kernel. Returns undefined when
 * there are none. Throws KernelLoadError.
 */
export function loadInitrd(paths: readonly string[], ram: GuestRam, kernel: KernelPlacement): LoadedInitrd | undefined {
  const [firstPath] = paths;
  if (firstPath === undefined) return undefined;
  using open = new DisposableStack();
  const files = paths.map((path) => open.use(new FileSource(path, 'INITRD')));
  const starts: number[] = [];
  let sizeBytes = 0;
  for (const file of files) {
    const start = alignUp(sizeBytes, ARCHIVE_ALIGNMENT);
    starts.push(start);
    sizeBytes = start + file.sizeBytes;
    // Before the sum can leave the range of exact integers.
    if (sizeBytes > ramSizeBytes(ram)) throw tooLarge(file.path, sizeBytes, ram);
  }
  const address = findPlace(ram, sizeBytes, kernel);
  if (address === undefined) throw tooLarge(firstPath, sizeBytes, ram);
  files.forEach((file, i) => {
    const start = starts[i] as number;
    const end = start + file.sizeBytes;
    file.copyTo(ram, { offset: 0, address: address + start, sizeBytes: file.sizeBytes });
    const next = starts[i + 1] ?? end;
    if (next > end) ram.fill(address + end, next - end, 0);
  });
  return { address, sizeBytes };
}

function tooLarge(path: string, sizeBytes: number, ram: GuestRam): KernelLoadError {
  const problem = `${sizeBytes} bytes of initrd do not fit beside the kernel into ${ramSizeBytes(ram)} bytes of RAM`;
  return new KernelLoadError('INITRD_TOO_LARGE', path, problem);
}

/** The highest page where `sizeBytes` fit: above the kernel, else (a small machine) between it and the first MiB. */
function findPlace(ram: GuestRam, sizeBytes: number, kernel: KernelPlacement): number | undefined {
  const kernelStart = alignDown(kernel.kernelStart, PAGE_BYTES);
  const gaps = ram.regions.flatMap(({ guestAddress, sizeBytes }) => {
    const start = Math.max(guestAddress, LOW_MEMORY_END);
    const end = Math.min(guestAddress + sizeBytes, kernel.initrdAddressMax + 1);
    return [
      { start, end: Math.min(end, kernelStart) },
      { start: Math.max(start, kernel.kernelEnd), end },
    ];
  });
  const places = gaps
    .map(({ start, end }) => ({ start, address: end >= sizeBytes ? alignDown(end - sizeBytes, PAGE_BYTES) : -1 }))
    .filter(({ start, address }) => address >= start)
    .map(({ address }) => address);
  return places.length > 0 ? Math.max(...places) : undefined;
}

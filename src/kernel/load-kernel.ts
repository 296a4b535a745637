import { loadBzImage } from './bzimage.ts';
import { isElf, loadElf } from './elf.ts';
import type { GuestRam } from './guest-ram.ts';
import { FileSource, type ImageSource, readRange } from './image-source.ts';
import { KernelLoadError } from './kernel-load-error.ts';
import type { LoadedKernel } from './loaded-kernel.ts';
import { isBzImage } from './setup-header.ts';

/** Enough of a file to tell what it is. */
const PROBE_BYTES = 1024;

/** Loads an ELF image or a bzImage from `source`, which stays the caller's. Throws KernelLoadError. */
export function loadKernelImage(source: ImageSource, ram: GuestRam): LoadedKernel {
  const sizeBytes = Math.min(source.sizeBytes, PROBE_BYTES);
  const start = readRange(source, { offset: 0, sizeBytes, what: 'the file' });
  if (isElf(start)) return loadElf(source, ram);
  if (isBzImage(start)) return loadBzImage(source, ram);
  throw new KernelLoadError('KERNEL_UNKNOWN_FORMAT', source.path, 'is neither an ELF image nor a bzImage');
}

/**
 * Loads the kernel file at `path` into guest memory. Throws KernelLoadError and nothing else for whatever the file holds; guest
 * memory is then undefined.
 */
export function loadKernel(path: string, ram: GuestRam): LoadedKernel {
  using file = new FileSource(path, 'KERNEL');
  return loadKernelImage(file, ram);
}

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { AptOptions } from './apt.ts';
import { GuestFilesError } from './guest-error.ts';
import { fetchKernelPackage } from './packages.ts';

export interface GuestKernel {
  /** Path of the bzImage. */
  readonly image: string;
  /** Kernel release as `uname -r` prints it. */
  readonly release: string;
}

/** Debian's newest kernel for virtual machines, fetched and unpacked. */
export async function fetchKernel(options: AptOptions): Promise<GuestKernel> {
  const { name, files } = await fetchKernelPackage(options);
  const boot = join(files, 'boot');
  const image = readdirSync(boot).find((file) => file.startsWith('vmlinuz-'));
  if (image === undefined) throw new GuestFilesError(`package '${name}' has no boot/vmlinuz-*`);
  return { image: join(boot, image), release: image.slice('vmlinuz-'.length) };
}

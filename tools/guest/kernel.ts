import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { announcedSize, decodePayload, payloadFormat } from '#kernel/decompress/payload.ts';
import { FileSource, readRange } from '#kernel/image-source.ts';
import { readSetupHeader } from '#kernel/setup-header.ts';
import type { AptOptions } from './apt.ts';
import { type CacheFolder, cached } from './cache-folder.ts';
import { GuestFilesError } from './guest-error.ts';
import { fetchKernelPackage } from './packages.ts';

export interface GuestKernel {
  /** Path of the bzImage. */
  readonly image: string;
  /** Kernel release as `uname -r` prints it. */
  readonly release: string;
  /** Folder of its modules. */
  readonly modules: string;
}

/** Debian's newest kernel for virtual machines, fetched and unpacked. */
export async function fetchKernel(options: AptOptions): Promise<GuestKernel> {
  const { name, files } = await fetchKernelPackage(options);
  const boot = join(files, 'boot');
  const image = readdirSync(boot).find((file) => file.startsWith('vmlinuz-'));
  if (image === undefined) throw new GuestFilesError(`package '${name}' has no boot/vmlinuz-*`);
  const release = image.slice('vmlinuz-'.length);
  const modules = ['lib', 'usr/lib']
    .map((lib) => join(files, lib, 'modules', release))
    .find((path) => existsSync(path));
  if (modules === undefined) throw new GuestFilesError(`package '${name}' has no lib/modules/${release}`);
  return { image: join(boot, image), release, modules };
}

/** The ELF image inside the kernel's bzImage, as `vmlinux` is built. Returns its path in the cache. */
export async function extractVmlinux(cache: CacheFolder, kernel: GuestKernel): Promise<string> {
  return await cached(cache, `vmlinux-${kernel.release}`, (temporary) => {
    using source = new FileSource(kernel.image, 'KERNEL');
    const { payload, protectedModeOffset } = readSetupHeader(source);
    if (!payload) throw new GuestFilesError(`'${kernel.image}' names no payload`);
    const offset = protectedModeOffset + payload.offset;
    const packed = readRange(source, { offset, sizeBytes: payload.sizeBytes, what: 'the payload' });
    const format = payloadFormat(packed);
    if (!format) throw new GuestFilesError(`'${kernel.image}' is packed in an unknown way`);
    writeFileSync(temporary, decodePayload(format, packed, announcedSize(packed)));
  });
}

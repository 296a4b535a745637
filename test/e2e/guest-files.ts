/** Kernels and images for the tests, fetched and built once and shared by all of them through the cache. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AptOptions, Architecture, Suite } from '../../tools/guest/apt.ts';
import { openCache } from '../../tools/guest/cache-folder.ts';
import { buildDebianDisk, type DebianDisk } from '../../tools/guest/debian-image.ts';
import { buildInitramfs, buildRootFolder } from '../../tools/guest/initramfs.ts';
import { extractVmlinux, fetchKernel } from '../../tools/guest/kernel.ts';
import { modulesInOrder } from '../../tools/guest/kernel-modules.ts';
import { fetchPackage } from '../../tools/guest/packages.ts';

/** The user space that the tests run programs of. */
export const USER_SPACE = ['bash', 'coreutils', 'gawk', 'gzip', 'openssl', 'perl-base', 'python3-minimal'];

/** The prompt of the guest's shell. */
export const PROMPT = /root@crosvm:\S+# /;

/** Why the guest's files cannot be had here; false where they can. */
export const skipWithoutApt: string | false =
  spawnSync('apt-get', ['--version']).error === undefined
    ? false
    : 'apt-get is missing: the guest is made of Debian packages';

function aptOptions(suite: Suite): AptOptions {
  return { cache: openCache(), suite, progress: (line) => process.stderr.write(`guest files: ${line}\n`) };
}

export async function vmlinuz(suite: Suite = 'bookworm'): Promise<string> {
  return (await fetchKernel(aptOptions(suite))).image;
}

export async function vmlinux(suite: Suite = 'bookworm'): Promise<string> {
  const options = aptOptions(suite);
  return await extractVmlinux(options.cache, await fetchKernel(options));
}

export async function busyboxImage(): Promise<string> {
  return await buildInitramfs(aptOptions('bookworm'));
}

export async function userSpaceImage(): Promise<string> {
  return await packagesImage(USER_SPACE);
}

/** busybox and Debian packages with what they need. */
export async function packagesImage(names: readonly string[]): Promise<string> {
  return await buildInitramfs(aptOptions('bookworm'), names);
}

/** busybox, and lspci with what it names drivers by. */
export async function pciUtilsImage(): Promise<string> {
  return await buildInitramfs(aptOptions('bookworm'), ['pciutils', 'kmod']);
}

/** The files of `userSpaceImage` as a folder on the host. */
export async function userSpaceFolder(): Promise<string> {
  return await buildRootFolder(aptOptions('bookworm'), USER_SPACE);
}

/** The path of Debian's static busybox for an architecture. */
export async function busybox(architecture: Architecture): Promise<string> {
  const { files } = await fetchPackage({ ...aptOptions('bookworm'), architecture }, 'busybox-static');
  return join(files, 'bin/busybox');
}

/** Debian 12 on a disk, with what it is started from. */
export async function debianDisk(): Promise<DebianDisk> {
  return await buildDebianDisk(aptOptions('bookworm'));
}

/** Beside the script, in a folder that is there: the kernel makes none for a file of an archive. */
export const MODULE_PREFIX = 'etc/crosvm/module-';

/** Modules of the kernel of `vmlinuz` with all that they need, as programs of a script archive, in the order to load them. */
export async function kernelModules(names: readonly string[]): Promise<Readonly<Record<string, Uint8Array>>> {
  const modules = modulesInOrder(await fetchKernel(aptOptions('bookworm')), names);
  return Object.fromEntries(
    modules.map(({ name, path }, i) => [
      `${MODULE_PREFIX}${String(i).padStart(2, '0')}-${name}.ko`,
      readFileSync(path),
    ]),
  );
}

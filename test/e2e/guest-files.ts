/** Kernels and images for the tests, fetched and built once and shared by all of them through the cache. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { AptOptions, Architecture, Suite } from '../../tools/guest/apt.ts';
import { openCache } from '../../tools/guest/cache-folder.ts';
import { buildInitramfs, buildRootFolder } from '../../tools/guest/initramfs.ts';
import { extractVmlinux, fetchKernel } from '../../tools/guest/kernel.ts';
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

/** Beside the script, in a folder that is there: the kernel makes none for a file of an archive. */
export const MODULE_PREFIX = 'etc/crosvm/module-';

/** Modules of the kernel of `vmlinuz` with all that they need, as programs of a script archive, in the order to load them. */
export async function kernelModules(names: readonly string[]): Promise<Readonly<Record<string, Uint8Array>>> {
  const { image, release } = await fetchKernel(aptOptions('bookworm'));
  const folder = resolve(dirname(image), '../lib/modules', release);
  const paths = new Map(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [moduleName(path), join(folder, path)]),
  );
  const ordered = new Map<string, string>();
  const add = (name: string): void => {
    const path = paths.get(moduleName(name));
    if (path === undefined) throw new Error(`the kernel has no module ${name}`);
    if (ordered.has(path)) return;
    for (const needed of dependenciesOf(readFileSync(path))) add(needed);
    ordered.set(path, `${MODULE_PREFIX}${String(ordered.size).padStart(2, '0')}-${moduleName(name)}.ko`);
  };
  for (const name of names) add(name);
  return Object.fromEntries([...ordered].map(([path, to]) => [to, readFileSync(path)]));
}

/** What `depends` says in a module's section .modinfo, whose entries end with a NUL. */
function dependenciesOf(module: Buffer): string[] {
  const key = '\0depends=';
  const start = module.indexOf(key, 0, 'latin1');
  if (start < 0) return [];
  const end = module.indexOf(0, start + key.length);
  const list = module.toString('latin1', start + key.length, end);
  return list.split(',').filter((name) => name !== '');
}

/** File names and dependencies differ in dashes. */
const moduleName = (path: string): string => basename(path, '.ko').replaceAll('-', '_');

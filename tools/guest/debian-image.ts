/**
 * A Debian system as an ext4 image, made by mmdebstrap and mke2fs without mounts and loop devices: by root, and by users with fakechroot or
 * user namespaces.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type AptOptions, debianSources } from './apt.ts';
import { cached, temporaryPath } from './cache-folder.ts';
import {
  DEBIAN_APT_OPTIONS,
  DEBIAN_PACKAGES,
  DEBIAN_SUITE,
  debianDpkgOptions,
  debianFiles,
  debianMasks,
} from './debian-files.ts';
import { buildDiskInitramfs } from './disk-initramfs.ts';
import { GuestFilesError } from './guest-error.ts';
import { needProgram } from './host-programs.ts';
import { fetchKernel, type GuestKernel } from './kernel.ts';
import { checkPackageNames } from './packages.ts';
import { runCommand } from './run-command.ts';

/** Part of the name of a cached image: to be raised when the same inputs would give another image. */
const IMAGE_VERSION = 1;
/** What the guest can fill. The image is sparse and takes what is in it. */
const DISK_SIZE = '4G';
/** Makes the merged /usr of today's Debian from the start, which saves the package that converts to it. */
const MERGED_USR_HOOK = '/usr/share/mmdebstrap/hooks/merged-usr';

/** What a machine with this disk is started from. */
export interface DebianDisk {
  readonly kernel: GuestKernel;
  /** To go before the disk's own init; archives may be added behind it. */
  readonly initramfs: string;
  /** A raw ext4 image in the cache, which nothing may write to: overlays go on top. */
  readonly image: string;
  readonly sizeBytes: number;
}

/** Fetches and builds what is not in the cache yet, with the packages named besides. Throws a GuestFilesError. */
export async function buildDebianDisk(options: AptOptions, packages: readonly string[] = []): Promise<DebianDisk> {
  checkPackageNames(packages);
  const ofSuite: AptOptions = { ...options, suite: DEBIAN_SUITE };
  const kernel = await fetchKernel(ofSuite);
  const initramfs = await buildDiskInitramfs(ofSuite);
  const recipe: Recipe = { kernel, packages: [...new Set([...DEBIAN_PACKAGES, ...packages])].toSorted() };
  const image = await cached(options.cache, `debian-${digest(recipe)}.ext4`, async (temporary) => {
    const folder = temporaryPath(options.cache);
    try {
      await build(options, recipe, { folder, image: temporary });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
  return { kernel, initramfs, image, sizeBytes: statSync(image).size };
}

interface Recipe {
  readonly kernel: GuestKernel;
  readonly packages: readonly string[];
}

function digest({ kernel, packages }: Recipe): string {
  const own = [debianFiles(), debianMasks(), DEBIAN_APT_OPTIONS, debianDpkgOptions()];
  const parts = [IMAGE_VERSION, DISK_SIZE, kernel.release, packages, own];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

async function build(
  { progress }: AptOptions,
  recipe: Recipe,
  { folder, image }: { folder: string; image: string },
): Promise<void> {
  const started = performance.now();
  const isRoot = process.getuid?.() === 0;
  needProgram('mmdebstrap', 'mmdebstrap', progress);
  needProgram('mkfs.ext4', 'e2fsprogs', progress);
  // Keeps the owners of files for a user who cannot give files away.
  if (!isRoot) needProgram('fakeroot', 'fakeroot', progress);
  mkdirSync(folder);
  const archive = join(folder, 'root.tar');
  await bootstrap(recipe, { folder, archive }, progress);
  const root = join(folder, 'root');
  mkdirSync(root);
  const steps = `tar --numeric-owner --xattrs --xattrs-include='*' -xf "$1" -C "$2" && mkfs.ext4 -q -L root -d "$2" "$3" ${DISK_SIZE}`;
  const command = ['sh', '-c', steps, 'sh', archive, root, image];
  const [program = '', ...parameters] = isRoot ? command : ['fakeroot', '--', ...command];
  await runCommand(program, parameters, { step: 'making the disk image (mkfs.ext4)', progress });
  const { blocks } = statSync(image);
  const seconds = Math.round((performance.now() - started) / 1000);
  progress(`built the Debian disk: ${Math.round((blocks * 512) / 2 ** 20)} MiB of ${DISK_SIZE} in ${seconds} s`);
}

/** A tar archive of the whole system. Hooks run once all packages are installed; `$1` is the system's root. */
async function bootstrap(
  { kernel, packages }: Recipe,
  { folder, archive }: { folder: string; archive: string },
  progress: AptOptions['progress'],
): Promise<void> {
  const files = join(folder, 'files.tar');
  await packFiles({ folder: join(folder, 'files'), archive: files });
  const modules = join(folder, 'modules.tar');
  await packFolder(dirname(kernel.modules), kernel.release, modules);
  const hooks = [
    `tar-in ${quoted(files)} /`,
    `tar-in ${quoted(modules)} /usr/lib/modules`,
    `chroot "$1" depmod ${kernel.release}`,
    'chroot "$1" passwd --quiet --delete root',
    // The host's, which mmdebstrap brings; the guest's comes with its network.
    'rm -f "$1/etc/resolv.conf"',
    // Says that users, caches and the like are those of the packages: they are not made again at every boot.
    'touch -r "$1/usr" "$1/etc/.updated" "$1/var/.updated"',
  ];
  const parameters = [
    '--quiet',
    '--variant=apt',
    '--format=tar',
    `--hook-dir=${MERGED_USR_HOOK}`,
    `--include=${packages.join(',')}`,
    ...DEBIAN_APT_OPTIONS.map((option) => `--aptopt=${option}`),
    ...debianDpkgOptions().map((option) => `--dpkgopt=${option}`),
    ...hooks.map((hook) => `--customize-hook=${hook}`),
    DEBIAN_SUITE,
    archive,
    debianSources({ suite: DEBIAN_SUITE, architecture: 'amd64' }),
  ];
  try {
    await runCommand('mmdebstrap', parameters, { step: `installing Debian '${DEBIAN_SUITE}' (mmdebstrap)`, progress });
  } catch (error) {
    if (!(error instanceof GuestFilesError) || process.getuid?.() === 0) throw error;
    throw new GuestFilesError(
      `${error.message}\nWhere it is this user who may not: mmdebstrap takes the packages fakechroot and fakeroot, or user namespaces (sysctl ` +
        'user.max_user_namespaces, a range in /etc/subuid and /etc/subgid, package uidmap). Root needs none of that.',
    );
  }
}

async function packFiles({ folder, archive }: { folder: string; archive: string }): Promise<void> {
  const at = (path: string): string => {
    const full = join(folder, path);
    mkdirSync(dirname(full), { recursive: true });
    return full;
  };
  mkdirSync(join(folder, 'usr/lib/modules'), { recursive: true });
  for (const [path, text] of Object.entries(debianFiles())) writeFileSync(at(path), text);
  for (const path of debianMasks()) symlinkSync('/dev/null', at(path));
  await packFolder(folder, '.', archive);
}

/** An archive of what is in `folder`, all of it root's. */
async function packFolder(folder: string, what: string, archive: string): Promise<void> {
  const owner = ['--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX', '--format=pax'];
  await runCommand('tar', ['-c', ...owner, '-f', archive, '-C', folder, what]);
}

/** One word for the hooks of mmdebstrap, which are split as a shell does. */
function quoted(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`;
}

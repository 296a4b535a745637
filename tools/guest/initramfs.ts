/** The guest's root as an initramfs: busybox, the init script and, if asked for, Debian packages. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { alternatives } from './alternatives.ts';
import type { AptOptions } from './apt.ts';
import { cached } from './cache-folder.ts';
import { writeArchive } from './cpio.ts';
import { GuestFilesError } from './guest-error.ts';
import { ImageTree } from './image-tree.ts';
import { etcFiles, INIT, REPORT_STATUS_PATH, SCRIPT_PATH } from './init-script.ts';
import { fetchClosure, fetchPackage, packageFolderName, type UnpackedPackage } from './packages.ts';

/** Part of the name of a cached image: to be raised when the same packages would give another image. */
const IMAGE_VERSION = 1;
/**
 * Every Debian program may count on these. busybox's own shell would run its applets in place of the packages' programs
 * of the same name, so /bin/sh is dash once there are packages.
 */
const IMPLIED_PACKAGES = ['base-files', 'dash', 'libc-bin', 'ncurses-base'];
const FOLDERS = ['proc', 'sys', 'dev', 'run', 'mnt', 'var/tmp', 'var/log', 'etc/crosvm', 'usr/local/bin'];
/** Device numbers: https://docs.kernel.org/admin-guide/devices.html */
const DEVICES: Readonly<Record<string, readonly [major: number, minor: number, mode: number]>> = {
  'dev/console': [5, 1, 0o600],
  'dev/null': [1, 3, 0o666],
  'dev/zero': [1, 5, 0o666],
  'dev/random': [1, 8, 0o666],
  'dev/urandom': [1, 9, 0o666],
  'dev/tty': [5, 0, 0o666],
  'dev/ttyS0': [4, 64, 0o600],
};

interface Contents {
  readonly busybox: UnpackedPackage;
  readonly packages: readonly UnpackedPackage[];
}

/** Fetches what the image needs and returns the path of the image in the cache, built if it is not there yet. */
export async function buildInitramfs(options: AptOptions, packageNames: readonly string[] = []): Promise<string> {
  const contents = await fetchContents(options, packageNames);
  return await cached(options.cache, `initramfs-${digest(contents)}.cpio`, (temporary) => {
    const started = performance.now();
    const tree = rootTree(contents);
    const sizeBytes = writeArchive(temporary, (writer) => tree.writeTo(writer));
    const duration = Math.round(performance.now() - started);
    options.progress(`built the initramfs: ${(sizeBytes / 2 ** 20).toFixed(1)} MiB in ${duration} ms`);
  });
}

/** The same files as in the image, in a folder of the cache: to run the guest's own programs on the host. */
export async function buildRootFolder(options: AptOptions, packageNames: readonly string[]): Promise<string> {
  const contents = await fetchContents(options, packageNames);
  return await cached(options.cache, `root-${digest(contents)}`, (temporary) => {
    rootTree(contents).writeToFolder(temporary);
  });
}

async function fetchContents(options: AptOptions, names: readonly string[]): Promise<Contents> {
  const busybox = await fetchPackage(options, 'busybox-static');
  const packages = names.length === 0 ? [] : await fetchClosure(options, [...names, ...IMPLIED_PACKAGES]);
  return { busybox, packages };
}

function digest({ busybox, packages }: Contents): string {
  const parts = [IMAGE_VERSION, INIT, etcFiles(''), [busybox, ...packages].map(packageFolderName).toSorted()];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

function rootTree({ busybox, packages }: Contents): ImageTree {
  const tree = new ImageTree();
  for (const path of FOLDERS) tree.directory(path);
  tree.directory('root', 0o700);
  tree.directory('tmp', 0o1777);
  for (const [path, [major, minor, mode]] of Object.entries(DEVICES)) tree.device(path, [major, minor], mode);
  for (const { files } of packages) tree.hostFolder(files);
  for (const { link, target } of packages.flatMap(alternatives)) {
    if (!tree.has(link) && tree.has(target)) tree.symlink(link, `/${target}`);
  }
  addBusybox(tree, busybox);
  const shell = tree.has('bin/bash') ? '/bin/bash' : '/bin/sh';
  for (const [path, text] of Object.entries(etcFiles(shell))) if (!tree.has(path)) tree.file(path, text);
  tree.file('init', INIT, 0o755);
  return tree;
}

/** Path on the host of the program in package busybox-static. */
export function busyboxProgram({ files }: UnpackedPackage): string {
  const program = ['bin/busybox', 'usr/bin/busybox'].map((path) => join(files, path)).find((path) => existsSync(path));
  if (program === undefined) throw new GuestFilesError(`package busybox-static has no bin/busybox in '${files}'`);
  return program;
}

/** busybox and a symlink for each of its applets that no package brings. */
function addBusybox(tree: ImageTree, busybox: UnpackedPackage): void {
  const program = busyboxProgram(busybox);
  const applets = execFileSync(program, ['--list-full'], { encoding: 'utf8' }).trim().split('\n');
  tree.hostFile('bin/busybox', program);
  const folders = ['bin', 'sbin', 'usr/bin', 'usr/sbin'];
  for (const applet of applets) {
    const name = applet.slice(applet.lastIndexOf('/') + 1);
    if (folders.every((folder) => !tree.has(`${folder}/${name}`))) tree.symlink(applet, '/bin/busybox');
  }
}

export interface ScriptArchiveOptions {
  /** The guest prints the script's exit status at its end. */
  readonly reportStatus?: boolean;
  /** Programs that the guest has besides, by their path in its root. */
  readonly programs?: Readonly<Record<string, Uint8Array>>;
}

/** An archive with the commands of script mode, to be concatenated with the image. The caller owns the file. */
export function writeScriptArchive(path: string, script: string, options: ScriptArchiveOptions = {}): void {
  const encoder = new TextEncoder();
  writeArchive(path, (writer) => {
    writer.add({ kind: 'file', path: SCRIPT_PATH, mode: 0o644, data: encoder.encode(script) });
    if (options.reportStatus) {
      writer.add({ kind: 'file', path: REPORT_STATUS_PATH, mode: 0o644, data: new Uint8Array(0) });
    }
    for (const [to, data] of Object.entries(options.programs ?? {})) {
      writer.add({ kind: 'file', path: to, mode: 0o755, data });
    }
  });
}

/**
 * The initramfs of the lab, in three archives one behind another: Debian's programs and libraries (an image of
 * `tools/guest`), Node.js with kernel modules and the guest files of the tests, and the project as it is now. The first two
 * are made once for each content; the last is small.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import type { AptOptions } from '../guest/apt.ts';
import { cached } from '../guest/cache-folder.ts';
import { writeArchive } from '../guest/cpio.ts';
import { ImageTree } from '../guest/image-tree.ts';
import { REPORT_STATUS_PATH, SCRIPT_PATH } from '../guest/init-script.ts';
import { buildInitramfs, busyboxProgram } from '../guest/initramfs.ts';
import { fetchKernel, type GuestKernel } from '../guest/kernel.ts';
import { modulesInOrder } from '../guest/kernel-modules.ts';
import { fetchKernelPackage, fetchPackage } from '../guest/packages.ts';
import { C_PROGRAMS, GUEST_CACHE, type LabScriptOptions, labScript, MODULES, PROJECT } from './script.ts';

/** What Node.js is linked with, and what tests call besides busybox. */
const PACKAGES = ['libatomic1', 'libstdc++6', 'iproute2', 'util-linux'];
/** Of the lab's own kernel. */
const LAB_MODULES = ['kvm_amd', 'tun'];
/** Of the kernel of the guests that tests run, which load those that they need. */
const GUEST_MODULES = /virtio/;
/** Part of the name of a cached archive: to be raised when the same inputs would give another one. */
const ARCHIVE_VERSION = 1;
const DIGEST_CHUNK_BYTES = 2 ** 20;

/** The parts of the project that programs and tests of the lab need. */
const PROJECT_FOLDERS = ['bin', 'src', 'seccomp', 'test', 'tools', 'bench'];
/** What tests import besides the dependencies of the package. */
const TEST_DEPENDENCIES = ['fast-check'];

export interface LabImageOptions {
  readonly apt: AptOptions;
  /** The folder of the project. */
  readonly root: string;
  readonly script: LabScriptOptions;
  /** Compiled programs, by the names that they have in the lab. */
  readonly cPrograms: Readonly<Record<string, string>>;
}

export interface LabImage {
  readonly kernel: string;
  /** The archives, in the order in which the kernel unpacks them. */
  readonly archives: readonly string[];
}

/** Makes what is not in the cache yet. The project's archive is written to `projectArchive`, which the caller owns. */
export async function buildLabImage(options: LabImageOptions, projectArchive: string): Promise<LabImage> {
  const { apt } = options;
  const kernel = await fetchKernel(apt);
  const base = await buildInitramfs(apt, PACKAGES);
  const node = await buildNodeArchive(apt, kernel);
  writeProjectArchive(options, projectArchive);
  return { kernel: kernel.image, archives: [base, node, projectArchive] };
}

/** One file of all archives: the kernel takes one. `path` must not exist yet; the caller owns it. */
export function concatenate(archives: readonly string[], path: string): void {
  const fd = openSync(path, 'wx');
  try {
    // Copies within the kernel, which hundreds of megabytes are worth.
    execFileSync('cat', ['--', ...archives], { stdio: ['ignore', fd, 'inherit'] });
  } finally {
    closeSync(fd);
  }
}

/** Node.js as it runs here, the lab's modules, and a cache of guest files like the host's, with what tests of KVM boot. */
async function buildNodeArchive(apt: AptOptions, kernel: GuestKernel): Promise<string> {
  const files = new Map<string, string>([['usr/local/bin/node', process.execPath]]);
  for (const [index, { name, path }] of modulesInOrder(kernel, LAB_MODULES).entries()) {
    files.set(`${MODULES}/${String(index).padStart(2, '0')}-${name}.ko`, path);
  }
  for (const path of await guestFiles(apt, kernel)) {
    files.set(`${GUEST_CACHE}/${relative(apt.cache.path, path)}`, path);
  }
  return await cached(apt.cache, `lab-${digest(files)}.cpio`, (temporary) => {
    const tree = new ImageTree();
    for (const [to, from] of files) tree.hostFile(to, from);
    const sizeBytes = writeArchive(temporary, (writer) => tree.writeTo(writer));
    apt.progress(`built the archive of Node.js and guest files: ${(sizeBytes / 2 ** 20).toFixed(0)} MiB`);
  });
}

function digest(files: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256').update(`${ARCHIVE_VERSION}`);
  for (const [to, from] of files) {
    hash.update(`${to}\0${digestOfFile(from)}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}

function digestOfFile(path: string): string {
  const hash = createHash('sha256');
  const chunk = new Uint8Array(DIGEST_CHUNK_BYTES);
  const fd = openSync(path, 'r');
  try {
    for (let sizeBytes = readSync(fd, chunk); sizeBytes > 0; sizeBytes = readSync(fd, chunk)) {
      hash.update(chunk.subarray(0, sizeBytes));
    }
    return hash.digest('hex');
  } finally {
    closeSync(fd);
  }
}

/** Paths in the cache: the kernel with its virtio modules, busybox and its image, and the answers that name their packages. */
async function guestFiles(apt: AptOptions, kernel: GuestKernel): Promise<string[]> {
  const busybox = await fetchPackage(apt, 'busybox-static');
  const image = await buildInitramfs(apt);
  const packages = new Set([busybox.name, (await fetchKernelPackage(apt)).name]);
  const names = readdirSync(kernel.modules, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ko') && GUEST_MODULES.test(basename(path)))
    .toSorted();
  const modules = modulesInOrder(kernel, names).map(({ path }) => path);
  return [kernel.image, ...modules, busyboxProgram(busybox), image, ...answersFor(apt, packages)];
}

/** The cache's files that say which version of a package is the newest. */
function answersFor({ cache, suite }: AptOptions, packages: ReadonlySet<string>): string[] {
  const isAlone = (path: string): boolean => {
    const { versions } = JSON.parse(readFileSync(path, 'utf8')) as { versions: readonly { name: string }[] };
    return versions.length === 1 && versions.every(({ name }) => packages.has(name));
  };
  return readdirSync(cache.path)
    .filter((name) => name.startsWith(`versions-${suite}-`))
    .map((name) => join(cache.path, name))
    .filter(isAlone)
    .toSorted();
}

function writeProjectArchive({ root, script, cPrograms }: LabImageOptions, path: string): void {
  const tree = new ImageTree();
  tree.hostFile(`${PROJECT}/package.json`, join(root, 'package.json'));
  for (const folder of PROJECT_FOLDERS) tree.hostFolder(join(root, folder), `${PROJECT}/${folder}`);
  for (const folder of installedDependencies(root)) tree.hostFolder(join(root, folder), `${PROJECT}/${folder}`);
  for (const [name, program] of Object.entries(cPrograms)) tree.hostFile(`${C_PROGRAMS}/${name}`, program);
  tree.file(SCRIPT_PATH, labScript(script));
  tree.file(REPORT_STATUS_PATH, '');
  writeArchive(path, (writer) => tree.writeTo(writer));
}

/** Folders of the packages that the project and its tests run with, without the tools of its development. */
export function installedDependencies(root: string): string[] {
  const found = new Set<string>();
  const add = (name: string): void => {
    const folder = join('node_modules', name);
    const manifest = join(root, folder, 'package.json');
    // What is optional may be for another system.
    if (found.has(folder) || !existsSync(manifest)) return;
    found.add(folder);
    for (const needed of runtimeDependencies(manifest)) add(needed);
  };
  for (const name of [...runtimeDependencies(join(root, 'package.json')), ...TEST_DEPENDENCIES]) add(name);
  return [...found];
}

function runtimeDependencies(manifest: string): string[] {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    readonly dependencies?: Readonly<Record<string, string>>;
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  };
  return Object.keys({ ...dependencies, ...optionalDependencies });
}

/** The files of a guest's root, in memory by path, before they are written as an archive. */
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { CpioEntry, CpioWriter } from './cpio.ts';

/** Folders that Debian keeps under /usr, with a symlink in the root. */
const MERGED = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'];
const MERGED_PREFIX = new RegExp(`^(${MERGED.join('|')})(?=/|$)`);
/** What a guest without manuals and translations does without. */
const LEFT_OUT = /^usr\/share\/(doc|man|info|locale|lintian|linda|bug)(\/|$)/;

type Node = { readonly mode: number; readonly mtimeSeconds?: number } & (
  | { readonly kind: 'directory' }
  | { readonly kind: 'file'; readonly data: Uint8Array }
  | { readonly kind: 'host-file'; readonly path: string }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'character-device'; readonly major: number; readonly minor: number }
);

/** Paths have no leading slash; /bin, /lib and the like are looked for under /usr. */
export class ImageTree {
  readonly #nodes = new Map<string, Node>();

  constructor() {
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
      this.directory(`usr/${name}`);
      this.#nodes.set(name, { kind: 'symlink', target: `usr/${name}`, mode: 0o777 });
    }
  }

  has(path: string): boolean {
    return this.#nodes.has(merged(path));
  }

  /** Creates a folder and those above it; one that is there keeps its mode. */
  directory(path: string, mode = 0o755): void {
    const at = merged(path);
    if (at === '.' || at === '' || this.#nodes.has(at)) return;
    this.directory(dirname(at));
    this.#nodes.set(at, { kind: 'directory', mode });
  }

  file(path: string, text: string, mode = 0o644): void {
    this.#place(path, { kind: 'file', data: new TextEncoder().encode(text), mode });
  }

  symlink(path: string, target: string): void {
    this.#place(path, { kind: 'symlink', target, mode: 0o777 });
  }

  device(path: string, [major, minor]: readonly [number, number], mode: number): void {
    this.#place(path, { kind: 'character-device', major, minor, mode });
  }

  hostFile(path: string, source: string): void {
    const { mode, mtimeMs } = lstatSync(source);
    this.#place(path, { kind: 'host-file', path: source, mode: mode & 0o7777, mtimeSeconds: seconds(mtimeMs) });
  }

  /** Adds all below a folder of the host. A file replaces one of the same path. */
  hostFolder(source: string, path = ''): void {
    for (const { name } of readdirSync(source, { withFileTypes: true })) {
      const from = join(source, name);
      const to = path === '' ? name : `${path}/${name}`;
      const status = lstatSync(from);
      if (LEFT_OUT.test(to)) continue;
      if (status.isDirectory()) {
        this.directory(to, status.mode & 0o7777);
        this.hostFolder(from, to);
      } else if (status.isSymbolicLink()) {
        // base-files ships the links of the merged folders themselves.
        if (!MERGED.includes(to)) this.symlink(to, readlinkSync(from));
      } else if (status.isFile()) {
        this.hostFile(to, from);
      }
    }
  }

  /** Writes every entry, folders before what is in them, with the same times for the same input. */
  writeTo(writer: CpioWriter): void {
    for (const [path, node] of [...this.#nodes].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      writer.add(entry(path, node));
    }
  }

  /** Makes the tree on the host, all but devices, in a folder that does not exist yet. */
  writeToFolder(folder: string): void {
    mkdirSync(folder);
    for (const [path, node] of [...this.#nodes].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const at = join(folder, path);
      if (node.kind === 'directory') mkdirSync(at);
      else if (node.kind === 'symlink') symlinkSync(node.target, at);
      else if (node.kind === 'host-file') copyFileSync(node.path, at);
      else if (node.kind === 'file') writeFileSync(at, node.data, { mode: node.mode });
    }
  }

  #place(path: string, node: Node): void {
    const at = merged(path);
    this.directory(dirname(at));
    this.#nodes.set(at, node);
  }
}

function merged(path: string): string {
  return path.replace(MERGED_PREFIX, 'usr/$1');
}

function entry(path: string, node: Node): CpioEntry {
  if (node.kind !== 'host-file') return { ...node, path };
  const { mode, mtimeSeconds = 0 } = node;
  return { kind: 'file', path, mode, mtimeSeconds, data: readFileSync(node.path) };
}

function seconds(ms: number): number {
  return Math.max(0, Math.floor(ms / 1000));
}

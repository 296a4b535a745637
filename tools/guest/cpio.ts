/**
 * cpio archives in the "newc" form that Linux unpacks as an initramfs:
 * https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
 */
import { closeSync, openSync, writeSync } from 'node:fs';

/** File types in the mode, as in stat(2). */
const TYPE = { REGULAR: 0o100000, DIRECTORY: 0o040000, SYMLINK: 0o120000, CHARACTER: 0o020000 } as const;
const MAGIC = '070701';
const ALIGNMENT = 4;
/** cpio's own padding of a whole archive, in bytes; the kernel also needs 4 between concatenated archives. */
const BLOCK_BYTES = 512;
const MAX_U32 = 0xffffffff;

interface Common {
  /** Path without a leading slash. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly mtimeSeconds?: number;
}
export type CpioEntry = Common &
  (
    | { readonly kind: 'directory' }
    | { readonly kind: 'file'; readonly data: Uint8Array }
    | { readonly kind: 'symlink'; readonly target: string }
    | { readonly kind: 'character-device'; readonly major: number; readonly minor: number }
  );

/** Writes entries in the order given; all belong to root. Hard links are written as copies. */
export class CpioWriter {
  readonly #sink: (bytes: Uint8Array) => void;
  #inode = 0;
  #sizeBytes = 0;
  #ended = false;

  /** `sink` receives the archive piece by piece and must have taken each piece when it returns. */
  constructor(sink: (bytes: Uint8Array) => void) {
    this.#sink = sink;
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  add(entry: CpioEntry): void {
    if (this.#ended) throw new Error('the archive was ended');
    if (entry.path === '' || entry.path.startsWith('/'))
      throw new RangeError(`bad path in an archive: '${entry.path}'`);
    this.#inode++;
    this.#write(entry, contents(entry));
  }

  /** Writes the trailer. An archive that was not ended is cut short. */
  end(): void {
    this.#inode = 0;
    this.#write({ kind: 'file', path: 'TRAILER!!!', mode: 0, data: new Uint8Array(0) }, new Uint8Array(0), 0);
    this.#pad(BLOCK_BYTES);
    this.#ended = true;
  }

  #write(entry: CpioEntry, data: Uint8Array, type = fileType(entry)): void {
    const name = new TextEncoder().encode(`${entry.path}\0`);
    const [major, minor] = entry.kind === 'character-device' ? [entry.major, entry.minor] : [0, 0];
    const fields = [
      this.#inode,
      type | entry.mode,
      0, // uid
      0, // gid
      entry.kind === 'directory' ? 2 : 1, // links
      entry.mtimeSeconds ?? 0,
      data.byteLength,
      0, // major and minor of the device that holds the file
      0,
      major,
      minor,
      name.byteLength,
      0, // check sum, of another form
    ];
    this.#put(new TextEncoder().encode(MAGIC + fields.map((value) => hex8(value, entry.path)).join('')));
    this.#put(name);
    this.#pad(ALIGNMENT);
    this.#put(data);
    this.#pad(ALIGNMENT);
  }

  #put(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    this.#sink(bytes);
    this.#sizeBytes += bytes.byteLength;
  }

  #pad(alignment: number): void {
    this.#put(new Uint8Array((alignment - (this.#sizeBytes % alignment)) % alignment));
  }
}

function fileType({ kind }: CpioEntry): number {
  if (kind === 'directory') return TYPE.DIRECTORY;
  if (kind === 'symlink') return TYPE.SYMLINK;
  return kind === 'file' ? TYPE.REGULAR : TYPE.CHARACTER;
}

function contents(entry: CpioEntry): Uint8Array {
  if (entry.kind === 'file') return entry.data;
  return entry.kind === 'symlink' ? new TextEncoder().encode(entry.target) : new Uint8Array(0);
}

function hex8(value: number, path: string): string {
  if (!Number.isInteger(value) || value < 0 || value > MAX_U32) {
    throw new RangeError(`${value} does not fit a field of the archive ('${path}')`);
  }
  return value.toString(16).toUpperCase().padStart(8, '0');
}

/** Makes an archive of a file that must not exist yet. Returns its size in bytes. */
export function writeArchive(path: string, write: (writer: CpioWriter) => void): number {
  const fd = openSync(path, 'wx');
  try {
    const writer = new CpioWriter((bytes) => {
      for (let written = 0; written < bytes.byteLength; ) written += writeSync(fd, bytes, written);
    });
    write(writer);
    writer.end();
    return writer.sizeBytes;
  } finally {
    closeSync(fd);
  }
}

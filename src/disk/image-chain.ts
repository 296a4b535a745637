/** A disk image and what lies below it: opened by main, used by a device that can open nothing. */
import { fstatSync, readlinkSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Fd } from '#sys/fd.ts';
import { dup, OpenFlag, openFlags, pread } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import { DiskError, type DiskFile } from './disk-file.ts';
import { type Backing, type ImageFormat, isQcow2 } from './qcow2/header.ts';
import { HostImageFile } from './qcow2/image-file.ts';
import { Qcow2Disk } from './qcow2/qcow2-disk.ts';
import { lockImage, RawDisk } from './raw.ts';

/** Images in a chain, the top one counted. */
export const CHAIN_MAX = 16;

/** One image of a chain. The descriptor is the owner's of the chain. */
export interface ChainImage {
  readonly fd: Fd;
  readonly format: ImageFormat;
}

export interface ChainOptions {
  /** What the user says the image is. Without it the image is raw, and one that looks like qcow2 is refused. */
  readonly format: ImageFormat | undefined;
  readonly readOnly: boolean;
  readonly lock: boolean;
}

interface ChainStep {
  readonly path: string;
  readonly format: ImageFormat | undefined;
}

/**
 * Opens and locks an image and all below it, the top one first; those below are only read. Throws SyscallError or DiskError.
 */
export function openChain(path: string, options: ChainOptions): ChainImage[] {
  using opened = new DisposableStack();
  const chain: ChainImage[] = [];
  const seen = new Set<string>();
  let at: ChainStep | undefined = { path, format: options.format };
  while (at !== undefined) {
    const { path: current, format }: ChainStep = at;
    at = naming(current, chain.length > 0, (): ChainStep | undefined => {
      if (chain.length === CHAIN_MAX) throw new DiskError('UNSUPPORTED', `more than ${CHAIN_MAX} images in a chain`);
      const readOnly = options.readOnly || chain.length > 0;
      const fd = opened.use(chain.length === 0 ? openTop(current, readOnly) : openImage(current, readOnly));
      const { dev, ino } = fstatSync(fd.fd, { bigint: true });
      const identity = `${dev}:${ino}`;
      if (seen.has(identity)) throw new DiskError('BAD_IMAGE', 'the images lie below each other in a circle');
      seen.add(identity);
      if (options.lock) lockImage(fd, readOnly);
      const known = format ?? rawUnlessDisguised(fd);
      chain.push({ fd, format: known });
      const backing = known === 'raw' ? checkRaw(fd, readOnly) : checkQcow2(fd, readOnly);
      return backing && { path: backingPath(current, backing), format: backing.format };
    });
  }
  opened.move();
  return chain;
}

/** The disk of a chain, whose descriptors it takes over. `formats` and `fds` are in the order of `openChain`. */
export function diskOfChain(fds: readonly Fd[], formats: readonly ImageFormat[], readOnly: boolean): DiskFile {
  assert(fds.length === formats.length && fds.length > 0, 'a descriptor for each image');
  let disk: DiskFile | undefined;
  for (let index = fds.length - 1; index >= 0; index--) {
    const fd = fds[index] as Fd;
    const isRead = readOnly || index > 0;
    // Whoever opened the image has locked it: the lock is the open file's.
    if (formats[index] === 'raw') disk = new RawDisk(fd, { readOnly: isRead, lock: false });
    else disk = new Qcow2Disk(new HostImageFile(fd), { readOnly: isRead, backing: disk });
  }
  assert(disk !== undefined, 'a disk');
  return disk;
}

/** crosvm's way to be handed an open file: it has the rights that it was opened with, whatever the file's own are now. */
const DESCRIPTOR = /^\/proc\/self\/fd\/(\d{1,9})$/;

function openTop(path: string, readOnly: boolean): Fd {
  const [, number] = DESCRIPTOR.exec(path) ?? [];
  if (number === undefined) return openImage(path, readOnly);
  const fd = new Fd(dup(Number(number)));
  const flags = openFlags(fd.fd);
  const mode = flags & OpenFlag.ACCESS_MODE;
  const isFit = mode === OpenFlag.RDWR || (readOnly && mode === OpenFlag.RDONLY);
  if (isFit && (readOnly || (flags & OpenFlag.APPEND) === 0)) return fd;
  fd.close();
  const wish = readOnly ? 'for reading' : 'for reading and writing, without O_APPEND';
  throw new DiskError('READ_ONLY', `the descriptor is not open ${wish}`);
}

function openImage(path: string, readOnly: boolean): Fd {
  // Non-blocking, as the open of a FIFO would wait; it means nothing for a regular file.
  return Fd.open(path, (readOnly ? OpenFlag.RDONLY : OpenFlag.RDWR) | OpenFlag.NONBLOCK);
}

/**
 * A guest that has a raw image can write a header of qcow2 into it, with the path of any file of the host as what lies below.
 * So what an image looks like never decides how it is opened.
 */
function rawUnlessDisguised(fd: Fd): 'raw' {
  const start = new Uint8Array(4);
  if (pread(fd.fd, start, { offset: 0 }) === start.length && isQcow2(start))
    throw new DiskError('BAD_IMAGE', 'begins as a qcow2 image: say format=qcow2, or format=raw if it is none');
  return 'raw';
}

function checkRaw(fd: Fd, readOnly: boolean): undefined {
  using _ = new RawDisk(fd.duplicate(), { readOnly, lock: false });
  return undefined;
}

/** Only looks: the device opens the image anew, and changes nothing before its guest does. */
function checkQcow2(fd: Fd, readOnly: boolean): Backing | undefined {
  return Qcow2Disk.inspect(new HostImageFile(fd), readOnly).backing;
}

/** Relative names are relative to the image that names them. */
function backingPath(path: string, { name }: Backing): string {
  // QEMU takes these for addresses or JSON. A file with such a name can be named by a path with a slash before the colon.
  if (/^[^/]*:/.test(name))
    throw new DiskError('UNSUPPORTED', `a backing file that is no path: ${JSON.stringify(name)}`);
  // A descriptor's name says nothing of where the file is.
  return resolve(dirname(DESCRIPTOR.test(path) ? readlinkSync(path) : path), name);
}

/** The user has not named what lies below, so messages do. */
function naming<T>(path: string, isBacking: boolean, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!isBacking || !(error instanceof DiskError || error instanceof SyscallError)) throw error;
    const code = error instanceof DiskError ? error.code : 'BAD_IMAGE';
    throw new DiskError(code, `backing file ${JSON.stringify(path)}: ${error.message}`, { cause: error });
  }
}

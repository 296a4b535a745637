/** The files behind persistent memory, opened before the machine is made: their sizes decide what it must have room for. */
import { fstatSync } from 'node:fs';
import { DiskError } from '#disk/disk-file.ts';
import { lockImage } from '#disk/raw.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { alignUp, MiB } from '#util/bits.ts';
import { CodedError } from '#util/errors.ts';
import { quoted } from '#util/quoted.ts';
import { ConfigError, pathMistake } from './config.ts';
import type { PmemConfig } from './pmem-config.ts';

export interface PmemImage {
  readonly config: PmemConfig;
  readonly fd: Fd;
  readonly fileBytes: number;
  /** What the guest sees: the file, and zeros up to a multiple of 2 MiB. */
  readonly sizeBytes: number;
}

/** Linux maps persistent memory by pages of 2 MiB. */
const SIZE_UNIT_BYTES = 2 * MiB;

export const pmemRoomBytes = (images: readonly PmemImage[]): number =>
  images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/**
 * Opens and locks the files; `owned` gets them. `roomBytesMax`: what the hypervisor has room for. Throws ConfigError for what cannot
 * be used.
 */
export function openPmemImages(
  pmems: readonly PmemConfig[],
  roomBytesMax: number,
  owned: DisposableStack,
): readonly PmemImage[] {
  const images = pmems.map((config) => openImage(config, owned));
  const roomBytes = pmemRoomBytes(images);
  if (roomBytes > roomBytesMax) {
    const sizes = `${roomBytes / MiB} MiB do not fit: beside this much RAM there is room for ${roomBytesMax / MiB} MiB`;
    throw new ConfigError([{ option: '--pmem', message: sizes }]);
  }
  return images;
}

function openImage(config: PmemConfig, owned: DisposableStack): PmemImage {
  const { path, readOnly } = config;
  const refuse = (problem: string): ConfigError =>
    new ConfigError([{ option: '--pmem', message: `${quoted(path)}: ${problem}` }]);
  try {
    // Non-blocking, as the open of a FIFO would wait; it means nothing for a regular file.
    const fd = owned.use(Fd.open(path, (readOnly ? OpenFlag.RDONLY : OpenFlag.RDWR) | OpenFlag.NONBLOCK));
    const status = fstatSync(fd.fd);
    if (!status.isFile()) throw refuse('is not a regular file');
    if (status.size === 0) throw refuse('is empty');
    lockImage(fd, readOnly);
    return { config, fd, fileBytes: status.size, sizeBytes: alignUp(status.size, SIZE_UNIT_BYTES) };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    if (error instanceof DiskError) throw refuse(error.message);
    if (error instanceof CodedError) throw new ConfigError([pathMistake('--pmem', path, error)]);
    throw error;
  }
}

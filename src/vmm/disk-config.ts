/** A disk as the user describes it: plain data, and what can be wrong with it. */
import type { Mistake } from './config.ts';

/** The options of `crosvm run` that give the guest a disk. */
export const DISK_OPTIONS = ['--block', '--disk', '--rwdisk', '--root', '--rwroot'] as const;
export type DiskOption = (typeof DISK_OPTIONS)[number];

/** A disk image and how the guest sees it. */
export interface DiskConfig {
  /** What the user wrote: mistakes are reported with it. */
  readonly option: DiskOption;
  readonly path: string;
  /** Raw, unless the user says so: what an image looks like is its guest's to write. */
  readonly format: 'raw' | 'qcow2' | undefined;
  readonly readOnly: boolean;
  /** The kernel's root file system. */
  readonly root: boolean;
  /** The guest may make holes in it. */
  readonly sparse: boolean;
  /** A power of two, 512 to 4096. */
  readonly blockSizeBytes: number;
  /** What the guest reads as its serial number: up to 20 ASCII characters. */
  readonly id: string;
  /** Refuse an image that another process uses. */
  readonly lock: boolean;
  readonly queueCount: number;
}

/** vda to vdz. */
export const DISKS_MAX = 26;

/** As many as crosvm's disks have. One is what a guest with one processor uses. */
export const DISK_QUEUES = { min: 1, default: 1, max: 16 } as const;

/** What can be told before an image is opened; `imageMistakes` judges a path that an option gave. */
export function diskMistakes(
  disks: readonly DiskConfig[],
  imageMistakes: (option: string, path: string) => readonly Mistake[],
): Mistake[] {
  const mistakes = disks.flatMap(({ option, path }) => imageMistakes(option, path));
  const surplus = disks[DISKS_MAX];
  if (surplus !== undefined)
    mistakes.push({ option: surplus.option, message: `at most ${DISKS_MAX} disks have names` });
  for (const { option, queueCount } of disks) {
    if (Number.isInteger(queueCount) && queueCount >= DISK_QUEUES.min && queueCount <= DISK_QUEUES.max) continue;
    const message = `${queueCount} queues: must be ${DISK_QUEUES.min} to ${DISK_QUEUES.max}`;
    mistakes.push({ option, message });
  }
  return mistakes;
}

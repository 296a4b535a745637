/** A persistent memory device as the user describes it: plain data, and what can be wrong with it. */
import type { Mistake } from './config.ts';

export interface PmemConfig {
  /** Of a regular file, whose bytes the guest has as memory. */
  readonly path: string;
  readonly readOnly: boolean;
  /** The kernel's root file system. */
  readonly root: boolean;
}

/** Each takes a place on the PCI bus, as disks and networks do. */
const PMEMS_MAX = 4;

/** What can be told without the files. */
export function pmemMistakes(pmems: readonly PmemConfig[]): Mistake[] {
  const option = '--pmem';
  if (pmems.length <= PMEMS_MAX) return [];
  return [{ option, message: `at most ${PMEMS_MAX} persistent memory devices are possible` }];
}

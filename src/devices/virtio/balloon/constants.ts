/** The balloon device's numbers, VIRTIO 1.1 §5.5; PAGE_REPORTING is of VIRTIO 1.2 §5.5. */
import { struct, u16, u32, u64 } from '#util/struct.ts';

/** Feature bits, §5.5.3. */
export const BalloonFeature = {
  MUST_TELL_HOST: 1n << 0n,
  STATS_VQ: 1n << 1n,
  DEFLATE_ON_OOM: 1n << 2n,
  PAGE_REPORTING: 1n << 5n,
} as const;

/** The unit of the balloon, whatever the guest's pages are, §5.5.6. */
export const PAGE_BYTES = 4096;

/** `struct virtio_balloon_config`, §5.5.4. */
export const BalloonConfig = struct({ numPages: u32, actual: u32 });
/** Where the driver writes `actual`. */
export const ACTUAL_OFFSET = 4;

export const QUEUE_SIZE = 128;

/** `struct virtio_balloon_stat`, §5.5.6.3: 10 bytes, for it is packed. */
export const Stat = struct({ tag: u16, value: u64 }, { packed: true });

/** Tags of statistics, §5.5.6.4, in their order from 0 on; the names are those of `crosvm balloon_stats`. */
export const STAT_NAMES = [
  'swapIn',
  'swapOut',
  'majorFaults',
  'minorFaults',
  'freeMemory',
  'totalMemory',
  'availableMemory',
  'diskCaches',
  'hugetlbAllocations',
  'hugetlbFailures',
] as const;
export type StatName = (typeof STAT_NAMES)[number];

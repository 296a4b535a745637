/** What main asks of the balloon's process. */
import { optional, struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { posted, protocol, request } from '#msg-socket/protocol.ts';
import { u64AsNumber, unit } from '#msg-socket/scalars.ts';

const count = optional(u64AsNumber);

/** VIRTIO 1.1 §5.5.6.4; absent is what the guest does not say. Memory in bytes. */
export const GuestMemoryStats = struct({
  swapIn: count,
  swapOut: count,
  majorFaults: count,
  minorFaults: count,
  freeMemory: count,
  totalMemory: count,
  availableMemory: count,
  diskCaches: count,
  hugetlbAllocations: count,
  hugetlbFailures: count,
});

/** What is known of a balloon: as it shall be and as it is, and of the how manieth report of the guest the statistics are; 0 is none. */
export const BalloonState = struct({
  targetBytes: u64AsNumber,
  actualBytes: u64AsNumber,
  sequence: u64AsNumber,
  stats: GuestMemoryStats,
});
export type BalloonState = ValueOf<typeof BalloonState>;

export const BalloonControl = protocol({
  /** How much memory the guest is to give back. */
  adjust: posted(struct({ sizeBytes: u64AsNumber })),
  /** What is known now. Asks the guest for its next report, which does not come at once. */
  state: request(unit, BalloonState),
});

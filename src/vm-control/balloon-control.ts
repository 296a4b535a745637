/** What main asks of the balloon's process. */
import { optional, struct } from '#msg-socket/composites.ts';
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

export const BalloonControl = protocol({
  /** How much memory the guest is to give back. */
  adjust: posted(struct({ sizeBytes: u64AsNumber })),
  /**
   * What is known now: the balloon as it shall be and as it is, and the guest's last report. Asks the guest for the next, which has
   * the next number; 0 is no report.
   */
  state: request(
    unit,
    struct({ targetBytes: u64AsNumber, actualBytes: u64AsNumber, sequence: u64AsNumber, stats: GuestMemoryStats }),
  ),
});

import type { VolatileSlice } from '#memory/volatile-slice.ts';

/**
 * A driver may make chains longer than the queue when they are indirect, and Linux does, although §2.6.5.3.1 of VIRTIO 1.1
 * forbids it. This many is what QEMU takes, and what one preadv takes.
 */
export const INDIRECT_CHAIN_MAX = 1024;

/**
 * One request of the driver: buffers that the device reads, then buffers that it writes, each checked to lie in RAM. The
 * descriptors are copies; the bytes are the guest's, who may change them at any time. One object is refilled for every chain.
 */
export class DescriptorChain {
  /** All RAM; the offsets are in it. */
  readonly memory: VolatileSlice;
  readonly capacity: number;
  readonly offsets: Float64Array;
  readonly sizes: Float64Array;
  /** The index of the first descriptor, by which the chain is given back. */
  head = 0;
  count = 0;
  /** The first so many buffers are readable. */
  readableCount = 0;
  readableBytes = 0;
  writableBytes = 0;

  /** For a queue, which knows how long chains get. */
  constructor(memory: VolatileSlice, capacity: number) {
    this.memory = memory;
    this.capacity = capacity;
    this.offsets = new Float64Array(capacity);
    this.sizes = new Float64Array(capacity);
  }

  /** Empties it for the chain that begins at `head`. */
  begin(head: number): void {
    this.head = head;
    this.count = 0;
    this.readableCount = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }
}

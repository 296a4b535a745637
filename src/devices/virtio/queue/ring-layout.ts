/** The split virtqueue in memory, VIRTIO 1.1 §2.6. All fields are little endian. */

/** The largest queue, §2.6. */
export const QUEUE_SIZE_MAX = 32768;

/** `struct virtq_desc`, §2.6.5. */
export const DESCRIPTOR = { ADDRESS: 0, LENGTH: 8, FLAGS: 12, NEXT: 14, SIZE_BYTES: 16 } as const;

/** Descriptor flags, §2.6.5. */
export const DescriptorFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
export const DESCRIPTOR_FLAGS = DescriptorFlag.NEXT | DescriptorFlag.WRITE | DescriptorFlag.INDIRECT;

/** `struct virtq_avail`, §2.6.6; `used_event` follows the ring. */
export const AVAILABLE = { FLAGS: 0, INDEX: 2, RING: 4, ENTRY_BYTES: 2, NO_INTERRUPT: 1 } as const;

/** `struct virtq_used`, §2.6.8; `avail_event` follows the ring. */
export const USED = { FLAGS: 0, INDEX: 2, RING: 4, ENTRY_BYTES: 8, LENGTH: 4 } as const;

/** Alignment of the three parts, §2.6. */
export const ALIGNMENT = { DESCRIPTORS: 16, AVAILABLE: 2, USED: 4 } as const;

/** The 16-bit event field behind each ring; room for it is required whether or not it is used, §2.6. */
const EVENT_BYTES = 2;

export function descriptorTableBytes(size: number): number {
  return size * DESCRIPTOR.SIZE_BYTES;
}

/** Where `used_event` lies in the available ring. */
export function usedEventOffset(size: number): number {
  return AVAILABLE.RING + size * AVAILABLE.ENTRY_BYTES;
}

export function availableRingBytes(size: number): number {
  return usedEventOffset(size) + EVENT_BYTES;
}

/** Where `avail_event` lies in the used ring. */
export function availableEventOffset(size: number): number {
  return USED.RING + size * USED.ENTRY_BYTES;
}

export function usedRingBytes(size: number): number {
  return availableEventOffset(size) + EVENT_BYTES;
}

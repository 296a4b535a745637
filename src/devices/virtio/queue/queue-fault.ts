/**
 * What a driver did that no device can make sense of. The queue stops at the chain in question and the device asks for a reset
 * (DEVICE_NEEDS_RESET, VIRTIO 1.1 §2.1.2); nothing is thrown. The keys are stable, the texts are for people.
 */
export const QUEUE_FAULTS = {
  BAD_QUEUE_SIZE: 'the queue size is no power of two, or larger than the queue may be',
  RING_MISALIGNED: 'a part of the queue is not aligned',
  RING_OUTSIDE_MEMORY: 'a part of the queue is not in RAM',
  TOO_MANY_AVAILABLE: 'more chains are available than the queue holds',
  HEAD_OUT_OF_RANGE: 'a chain begins past the descriptor table',
  NEXT_OUT_OF_RANGE: 'a descriptor continues past its table',
  CHAIN_TOO_LONG: 'a chain loops, or has more descriptors than any request needs',
  UNKNOWN_FLAGS: 'a descriptor has flags that are not defined',
  EMPTY_BUFFER: 'a descriptor has no bytes',
  BUFFER_OUTSIDE_MEMORY: 'a buffer is not in RAM',
  TOO_MANY_BYTES: 'the buffers of a chain have 4 GiB or more',
  READABLE_AFTER_WRITABLE: 'a buffer for reading follows one for writing',
  INDIRECT_NOT_NEGOTIATED: 'a descriptor is indirect, which was not negotiated',
  INDIRECT_NESTED: 'an indirect table has an indirect descriptor',
  INDIRECT_CONTINUED: 'an indirect descriptor is continued',
  INDIRECT_BAD_LENGTH: 'an indirect table is empty or ends within a descriptor',
  NO_ROOM_FOR_ANSWER: 'a request has no room for the answer',
} as const;

export type QueueFault = keyof typeof QUEUE_FAULTS;

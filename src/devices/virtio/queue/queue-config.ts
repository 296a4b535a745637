import type { GuestMemory } from '#memory/guest-memory.ts';
import { isAligned, isPowerOfTwo } from '#util/bits.ts';
import { NO_VECTOR } from '../constants.ts';
import type { QueueFault } from './queue-fault.ts';
import { ALIGNMENT, availableRingBytes, descriptorTableBytes, QUEUE_SIZE_MAX, usedRingBytes } from './ring-layout.ts';

/** What the driver says about one queue: plain data, which nobody has checked before `configFault` did. */
export interface QueueConfig {
  readonly maxSize: number;
  size: number;
  /** Guest-physical addresses. Above 2^53 a number is only nearly exact, and still no RAM. */
  descriptorTable: number;
  availableRing: number;
  usedRing: number;
  /** The MSI-X vector of the queue's interrupts, or NO_VECTOR. */
  vector: number;
}

/** A queue after reset. */
export function defaultQueueConfig(maxSize: number): QueueConfig {
  return { maxSize, size: maxSize, descriptorTable: 0, availableRing: 0, usedRing: 0, vector: NO_VECTOR };
}

/** What is wrong with a queue that the driver enables; undefined when nothing is. */
export function configFault(memory: GuestMemory, config: QueueConfig): QueueFault | undefined {
  const { size, maxSize, descriptorTable, availableRing, usedRing } = config;
  if (!isPowerOfTwo(size) || size > maxSize || size > QUEUE_SIZE_MAX) return 'BAD_QUEUE_SIZE';
  const parts = [
    { address: descriptorTable, alignment: ALIGNMENT.DESCRIPTORS, sizeBytes: descriptorTableBytes(size) },
    { address: availableRing, alignment: ALIGNMENT.AVAILABLE, sizeBytes: availableRingBytes(size) },
    { address: usedRing, alignment: ALIGNMENT.USED, sizeBytes: usedRingBytes(size) },
  ];
  for (const { address, alignment, sizeBytes } of parts) {
    if (!isAligned(address, alignment)) return 'RING_MISALIGNED';
    if (memory.offsetOf(address, sizeBytes) < 0) return 'RING_OUTSIDE_MEMORY';
  }
  return undefined;
}

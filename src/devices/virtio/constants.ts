/** Numbers that all virtio devices share; sections are those of VIRTIO 1.1. */

/** Device types, §5. */
export const DeviceType = {
  NETWORK: 1,
  BLOCK: 2,
  CONSOLE: 3,
  ENTROPY: 4,
  BALLOON: 5,
  INPUT: 18,
  VSOCK: 19,
  FS: 26,
  PMEM: 27,
} as const;

/** Device status, §2.1. */
export const Status = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Reserved feature bits, §6. */
export const Feature = {
  RING_INDIRECT_DESC: 1n << 28n,
  RING_EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
} as const;

/** What the transport and the queues implement for every device. */
export const TRANSPORT_FEATURES = Feature.VERSION_1 | Feature.RING_INDIRECT_DESC | Feature.RING_EVENT_IDX;

/** "No interrupt", §4.1.5.1.2.1. */
export const NO_VECTOR = 0xffff;

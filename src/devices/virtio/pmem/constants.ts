/** The persistent memory device's numbers, VIRTIO 1.2 §5.19. */
import { struct, u32, u64AsNumber } from '#util/struct.ts';

/** `struct virtio_pmem_config`, §5.19.4: where the memory is among the guest's physical addresses. */
export const PmemConfig = struct({ start: u64AsNumber, size: u64AsNumber });

/** `struct virtio_pmem_req`, §5.19.6. */
export const PmemRequest = struct({ type: u32 });
export const PmemRequestType = { FLUSH: 0 } as const;

/** `struct virtio_pmem_resp`, §5.19.7. */
export const PmemResponse = struct({ ret: u32 });
export const PmemStatus = { OK: 0, EIO: 1 } as const;

export const QUEUE_SIZES = [256] as const;

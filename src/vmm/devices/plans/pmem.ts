import { PmemParameters } from '#devices/virtio/pmem/parameters.ts';
import { pmem } from '#devices/virtio/pmem/pmem.ts';
import type { MemoryRegion } from '#hypervisor/memory-region.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import type { SystemAllocator } from '#resources/system-allocator.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { alignUp, MiB } from '#util/bits.ts';
import type { PmemImage } from '../../pmem-image.ts';
import type { DevicePlan } from './plan.ts';

/** As in crosvm: Linux adds memory by sections of 128 MiB. */
const ALIGNMENT_BYTES = 128 * MiB;

export interface PmemHost {
  readonly allocator: SystemAllocator;
  readonly addMemoryRegion: (region: MemoryRegion) => number;
}

/** Puts the file among the guest's addresses. Throws MemoryRegionError, ResourceError, SyscallError. */
export function pmemPlan(image: PmemImage, index: number, host: PmemHost, opened: DisposableStack): DevicePlan {
  const { fd, sizeBytes, config } = image;
  const { readOnly } = config;
  const name = `pmem${index}`;
  const { start } = host.allocator.highMmio.allocate({ sizeBytes, alignment: ALIGNMENT_BYTES, tag: name });
  const fileBytes = alignUp(image.fileBytes, PAGE_SIZE_BYTES);
  const common = { fileOffset: 0, readOnly };
  host.addMemoryRegion({ ...common, guestAddress: start, sizeBytes: fileBytes, fd: fd.fd });
  if (fileBytes < sizeBytes) {
    // Beyond the file's last page there is nothing of it to map.
    using rest = SharedMemory.create(`${name}-rest`, sizeBytes - fileBytes);
    const guestAddress = start + fileBytes;
    host.addMemoryRegion({ ...common, guestAddress, sizeBytes: rest.sizeBytes, fd: rest.fd });
  }
  const parameters = encodeBytes(PmemParameters, { start, sizeBytes });
  const { policy, queueSizes } = pmem;
  const fds = readOnly ? [] : [opened.use(forFlushes(fd))];
  return { device: 'pmem', name, policy, queueCount: queueSizes.length, parameters, fds };
}

/** The same file, open for reading alone: more a flush does not need. */
function forFlushes(fd: Fd): Fd {
  return Fd.open(`/proc/self/fd/${fd.fd}`, OpenFlag.RDONLY);
}

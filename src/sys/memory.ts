/** Mappings and memfds. Addresses are numbers: Linux user addresses lie below 2^47. All throw SyscallError. */
import { type Address, bind, lastError } from './ffi.ts';
import { FcntlCommand, fcntl, ftruncate } from './file.ts';

/** mmap(2) protection, asm-generic/mman-common.h. */
export const Prot = { NONE: 0, READ: 1, WRITE: 2, EXEC: 4 } as const;

/** mmap(2) flags, asm-generic/mman-common.h and mman.h. */
export const MapFlag = {
  SHARED: 0x01,
  PRIVATE: 0x02,
  FIXED: 0x10,
  ANONYMOUS: 0x20,
  NORESERVE: 0x4000,
  POPULATE: 0x8000,
  FIXED_NOREPLACE: 0x100000,
} as const;

/** madvise(2), asm-generic/mman-common.h. */
export const Advice = {
  NORMAL: 0,
  SEQUENTIAL: 2,
  WILLNEED: 3,
  DONTNEED: 4,
  REMOVE: 9,
  DONTFORK: 10,
  DOFORK: 11,
  MERGEABLE: 12,
  HUGEPAGE: 14,
  NOHUGEPAGE: 15,
  DONTDUMP: 16,
} as const;

/** memfd_create(2), uapi/linux/memfd.h. */
export const MemfdFlag = { CLOEXEC: 1, ALLOW_SEALING: 2, HUGETLB: 4 } as const;

/** File seals, uapi/linux/fcntl.h. */
export const Seal = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8, FUTURE_WRITE: 16 } as const;

/** The page size of every architecture that this layer knows. */
export const PAGE_SIZE_BYTES = 4096;

const MAP_FAILED = 2n ** 64n - 1n;

const c = {
  memfdCreate: bind<(name: string, flags: number) => number>('int memfd_create(const char*, unsigned int)'),
  mmap: bind<(address: Address, size: number, prot: number, flags: number, fd: number, offset: number) => Address>(
    'uint64_t mmap(uint64_t, size_t, int, int, int, int64_t)',
  ),
  munmap: bind<(address: Address, size: number) => number>('int munmap(uint64_t, size_t)'),
  mprotect: bind<(address: Address, size: number, prot: number) => number>('int mprotect(uint64_t, size_t, int)'),
  madvise: bind<(address: Address, size: number, advice: number) => number>('int madvise(uint64_t, size_t, int)'),
};

/** A new memfd of `sizeBytes` zeros, closed on exec, open for sealing. `name` is only shown in /proc. */
export function memfdCreate(name: string, flags: number = MemfdFlag.ALLOW_SEALING): number {
  const fd = c.memfdCreate(name, flags | MemfdFlag.CLOEXEC);
  if (fd < 0) throw lastError('memfd_create', { path: name });
  return fd;
}

/** Adds seals to a memfd: what they forbid stays forbidden for every holder. */
export function addSeals(fd: number, seals: number): void {
  fcntl(fd, FcntlCommand.ADD_SEALS, seals);
}

export function getSeals(fd: number): number {
  return fcntl(fd, FcntlCommand.GET_SEALS);
}

export { ftruncate };

export interface MmapOptions {
  readonly sizeBytes: number;
  /** Bits of Prot. */
  readonly prot: number;
  /** Bits of MapFlag. */
  readonly flags: number;
  /** -1, the default, for an anonymous mapping. */
  readonly fd?: number;
  /** Offset in the file, a multiple of the page size. */
  readonly offset?: number;
  /** Where to map (with FIXED: exactly there, replacing what is there); the kernel chooses by default. */
  readonly address?: Address;
}

/** Maps memory and returns its address. With MapFlag.FIXED it replaces what is mapped there. */
export function mmap(options: MmapOptions): number {
  const { sizeBytes, prot, flags, fd = -1, offset = 0, address = 0 } = options;
  const mapped = c.mmap(address, sizeBytes, prot, flags, fd, offset);
  if (mapped === MAP_FAILED) throw lastError('mmap', fd < 0 ? {} : { fd });
  return Number(mapped);
}

/** Removes a mapping. A buffer over it must be detached before. */
export function munmap(address: Address, sizeBytes: number): void {
  if (c.munmap(address, sizeBytes) < 0) throw lastError('munmap');
}

export function mprotect(address: Address, sizeBytes: number, prot: number): void {
  if (c.mprotect(address, sizeBytes, prot) < 0) throw lastError('mprotect');
}

export function madvise(address: Address, sizeBytes: number, advice: number): void {
  if (c.madvise(address, sizeBytes, advice) < 0) throw lastError('madvise');
}

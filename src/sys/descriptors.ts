/** The process's table of descriptors. All throw SyscallError. */
import { assert } from '#util/assert.ts';
import { bind, errno, lastError } from './ffi.ts';
import { OpenFlag } from './file.ts';
import { Errno } from './syscall-error.ts';

const FD_LIMIT = 2 ** 32 - 1;
/** For the C library before 2.34, arch/x86/entry/syscalls/syscall_64.tbl. */
const SYS_CLOSE_RANGE = 436;

const c = {
  closeRange: bind<(number: number, first: number, last: number, flags: number) => number>(
    'int64_t syscall(int64_t, int64_t, int64_t, int64_t)',
  ),
  dup2: bind<(from: number, to: number) => number>('int dup2(int, int)'),
  dup3: bind<(from: number, to: number, flags: number) => number>('int dup3(int, int, int)'),
};

/** Closes the descriptors from `first` to `last`, both among them; open or not. */
export function closeRange(first: number, last: number = FD_LIMIT): void {
  assert(first >= 0 && first <= last, 'a range of descriptors');
  if (c.closeRange(SYS_CLOSE_RANGE, first, last, 0) < 0) throw lastError('close_range');
}

/** Closes every descriptor that is not in `keep`. */
export function closeAllExcept(keep: Iterable<number>): void {
  let first = 0;
  for (const fd of [...new Set(keep)].toSorted((a, b) => a - b)) {
    if (fd > first) closeRange(first, fd - 1);
    first = fd + 1;
  }
  closeRange(first);
}

/** Makes `to` a duplicate of `from`, open over exec; what `to` was is closed. Nothing happens when they are the same. */
export function dup2(from: number, to: number): void {
  while (c.dup2(from, to) < 0)
    if (errno() !== Errno.EINTR && errno() !== Errno.EBUSY) throw lastError('dup2', { fd: from });
}

/** As `dup2`, closed on exec. EINVAL when they are the same. */
export function dup3(from: number, to: number): void {
  while (c.dup3(from, to, OpenFlag.CLOEXEC) < 0)
    if (errno() !== Errno.EINTR && errno() !== Errno.EBUSY) throw lastError('dup3', { fd: from });
}

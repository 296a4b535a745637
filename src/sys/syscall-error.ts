import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';
import { CodedError } from '#util/errors.ts';

/** What a call was about; both may be absent (getpid) and both present (openat). */
export interface SyscallSubject {
  readonly path?: string;
  readonly fd?: number;
}

/** `code` by number. The first name of a number wins (EAGAIN before EWOULDBLOCK, as the kernel's headers order them). */
const codes = new Map<number, string>();
for (const [code, errno] of Object.entries(constants.errno)) if (!codes.has(errno)) codes.set(errno, code);

/** The numbers that callers compare with, asm-generic/errno-base.h and errno.h. */
export const Errno = {
  EINTR: constants.errno.EINTR,
  EAGAIN: constants.errno.EAGAIN,
  EINVAL: constants.errno.EINVAL,
  EIO: constants.errno.EIO,
  EPERM: constants.errno.EPERM,
  ENOENT: constants.errno.ENOENT,
  EPIPE: constants.errno.EPIPE,
  ENOMEM: constants.errno.ENOMEM,
  EBUSY: constants.errno.EBUSY,
  ESRCH: constants.errno.ESRCH,
  EOPNOTSUPP: constants.errno.EOPNOTSUPP,
  ENAMETOOLONG: constants.errno.ENAMETOOLONG,
  ECONNRESET: constants.errno.ECONNRESET,
  EEXIST: constants.errno.EEXIST,
  EACCES: constants.errno.EACCES,
  EBADF: constants.errno.EBADF,
  EISDIR: constants.errno.EISDIR,
  ENOTDIR: constants.errno.ENOTDIR,
  ENOTEMPTY: constants.errno.ENOTEMPTY,
  ENFILE: constants.errno.ENFILE,
  ENXIO: constants.errno.ENXIO,
  ENOSYS: constants.errno.ENOSYS,
  ENODATA: constants.errno.ENODATA,
  EFBIG: constants.errno.EFBIG,
  ELOOP: constants.errno.ELOOP,
  EROFS: constants.errno.EROFS,
  ERANGE: constants.errno.ERANGE,
  EPROTO: constants.errno.EPROTO,
  E2BIG: constants.errno.E2BIG,
  ENOSPC: constants.errno.ENOSPC,
} as const;

/** A system call that failed: its name, errno (positive), the errno's name as `code`, and the path or descriptor. */
export class SyscallError extends CodedError {
  override readonly name = 'SyscallError';
  readonly syscall: string;
  readonly errno: number;
  readonly path: string | undefined;
  readonly fd: number | undefined;

  constructor(syscall: string, errno: number, subject: SyscallSubject = {}) {
    const code = codes.get(errno) ?? `E${errno}`;
    const words = [syscall];
    if (subject.path !== undefined) words.push(JSON.stringify(subject.path));
    if (subject.fd !== undefined) words.push(`fd ${subject.fd}`);
    const reason = codes.has(errno) ? getSystemErrorMessage(-errno) : 'unknown error';
    super(code, `${words.join(' ')}: ${reason} (${code})`);
    this.syscall = syscall;
    this.errno = errno;
    this.path = subject.path;
    this.fd = subject.fd;
  }
}

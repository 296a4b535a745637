import { bind, lastError } from '#sys/ffi.ts';

/** memfd_create(2): close on exec, and seals may be set. */
const MFD = { CLOEXEC: 0x1, ALLOW_SEALING: 0x2 } as const;

const ioctl = bind<(fd: number, request: number, argument: number) => number>(
  'int ioctl(int fd, unsigned long request, long argument)',
);
const memfdCreate = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);

/** An ioctl without an argument whose answer is its result. Throws SyscallError. */
export function ioctlResult(fd: number, request: number): number {
  const result = ioctl(fd, request, 0);
  if (result < 0) throw lastError('ioctl', { fd });
  return result;
}

/** A new empty memfd that can be sealed; the caller closes it. Throws SyscallError. */
export function sealableMemfd(): number {
  const fd = memfdCreate('crosvm-doctor', MFD.CLOEXEC | MFD.ALLOW_SEALING);
  if (fd < 0) throw lastError('memfd_create');
  return fd;
}

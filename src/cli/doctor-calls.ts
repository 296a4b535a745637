import { bind, lastError } from '#sys/ffi.ts';

/** memfd_create(2): close on exec, and seals may be set. */
const MFD = { CLOEXEC: 0x1, ALLOW_SEALING: 0x2 } as const;

const memfdCreate = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);

/** A new empty memfd that can be sealed; the caller closes it. Throws SyscallError. */
export function sealableMemfd(): number {
  const fd = memfdCreate('crosvm-doctor', MFD.CLOEXEC | MFD.ALLOW_SEALING);
  if (fd < 0) throw lastError('memfd_create');
  return fd;
}

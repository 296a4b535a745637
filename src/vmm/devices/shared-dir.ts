/** What the process of a file system device opens for itself, before its jail and in it. */
import type { FsResources } from '#devices/virtio/fs/fs.ts';
import { NAMESPACE_IDS, ownerIds } from '#devices/virtio/fs/ids.ts';
import { LinuxHost } from '#devices/virtio/fs/linux-host.ts';
import { openat2, umask } from '#sys/at-calls.ts';
import { currentIds, getRlimit } from '#sys/credentials.ts';
import { Fd } from '#sys/fd.ts';
import { AT_FDCWD, OpenFlag } from '#sys/file.ts';
import { cloneTree } from '#sys/namespaces.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';

/** As many descriptors as the host lets a process have. */
export const FS_NOFILE = 2 ** 20;
/** Of these the device's own, and those that an operation has for its time. */
const RESERVED_FDS = 128;
/** One in so many of the rest is for open files, the others for inodes that the guest knows. */
const FILES_SHARE = 4;

const OWN_FDS = '/proc/self/fd';
const { PATH, DIRECTORY, CLOEXEC } = OpenFlag;
const ROOT = Buffer.from('/\0');

/** Once in the process, still outside of the jail. `fds` are the device's own. Throws SyscallError. */
export function openSharedDir(fds: readonly Fd[]): Pick<FsResources, 'ids' | 'filesMax' | 'inodesMax' | 'openHost'> {
  // The guest's kernel has taken away what its user's mask takes.
  umask(0);
  const [folder] = fds;
  assert(fds.length <= 1, 'at most the shared directory');
  // A mount of its own: from it lead no ways to the rest of /proc.
  const selfFd = folder === undefined ? new Fd(cloneTree(OWN_FDS)) : Fd.open(OWN_FDS, PATH | DIRECTORY);
  const { euid, egid } = currentIds();
  const { hard } = getRlimit('NOFILE');
  const limit = Math.max(0, Math.min(FS_NOFILE, Number(hard)) - RESERVED_FDS);
  const filesMax = Math.floor(limit / FILES_SHARE);
  return {
    ids: folder === undefined ? NAMESPACE_IDS : ownerIds(euid, egid),
    filesMax,
    inodesMax: limit - filesMax,
    openHost: () => new LinuxHost(folder?.fd ?? openRoot(), selfFd.fd),
  };
}

/** The shared directory once it is the root. Once and for the life of the process. */
function openRoot(): number {
  const fd = openat2(AT_FDCWD, ROOT, PATH | DIRECTORY | CLOEXEC, { mode: 0, resolve: 0 });
  if (fd < 0) throw new SyscallError('openat2', -fd, { path: '/' });
  return fd;
}

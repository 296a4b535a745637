/**
 * What minijail does for crosvm, for a process that has just been forked and has one thread. Two parts, because a pid namespace takes a
 * fork between them: `enterNamespaces` runs in the first child, `lockDown` in the second; without a pid namespace one process does both.
 */
import {
  currentIds,
  getCapabilities,
  getRlimit,
  type RlimitName,
  setCapabilities,
  setGroup,
  setGroups,
  setRlimit,
  setUser,
} from '#sys/credentials.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { OpenFlag, read, write } from '#sys/file.ts';
import {
  attachTree,
  CloneFlag,
  chdir,
  cloneTree,
  MountAttribute,
  MountFlag,
  mount,
  pivotRoot,
  sethostname,
  setTreeAttributes,
  UmountFlag,
  umount,
  unshare,
} from '#sys/namespaces.ts';
import { clearAmbientSet, dropBoundingSet, SecureBit, setDumpable, setSecureBits } from '#sys/prctl.ts';
import { exitNow, fork, getpid, waitPid } from '#sys/process.ts';
import { setNoNewPrivileges } from '#sys/seccomp.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { type FolderRoot, type IdMap, type JailConfig, NAMESPACES, type NamespaceName } from './jail-config.ts';
import { jailStep } from './jail-error.ts';

const FLAGS: Readonly<Record<NamespaceName, number>> = {
  user: CloneFlag.NEWUSER,
  pid: CloneFlag.NEWPID,
  mount: CloneFlag.NEWNS,
  net: CloneFlag.NEWNET,
  ipc: CloneFlag.NEWIPC,
  uts: CloneFlag.NEWUTS,
  cgroup: CloneFlag.NEWCGROUP,
};

/** Every bit that takes something away from root, and the lock of each, one bit higher; KEEP_CAPS is off and locked. */
export const SECURE_BITS =
  (SecureBit.NOROOT | SecureBit.NO_SETUID_FIXUP | SecureBit.NO_CAP_AMBIENT_RAISE) * 0b11 + SecureBit.KEEP_CAPS * 0b10;

/** What a jailed process sees instead of the host's name. */
const HOST_NAME = 'crosvm';

/** A directory that every host has: the maps are written there. What is mounted over it is seen in this mount namespace alone. */
const MOUNT_POINT = '/proc';

/** uapi/linux/capability.h, as a bit of a set. */
export const CAP_SETPCAP = 1n << 8n;
export const NO_CAPABILITIES = { effective: 0n, permitted: 0n, inheritable: 0n };

/** Changes the user, if it is to be changed before, and enters the namespaces. Throws JailError. */
export function enterNamespaces(config: JailConfig): void {
  const { namespaces } = config;
  jailStep('user change', leaveGroups);
  if (namespaces.includes('user')) {
    jailStep('user change', () => changeUser(config));
    // The change has made the files in /proc/self root's, and with them the id maps.
    setDumpable(true);
  }
  for (const name of NAMESPACES) {
    if (!namespaces.includes(name)) continue;
    // The outer ids: inside they are unmapped until the maps are written.
    const { euid, egid } = currentIds();
    const mapper =
      name === 'user' && mapsOthers(config, euid, egid) ? jailStep('id maps', () => new IdMapper(config)) : undefined;
    jailStep(`${name} namespace`, () => unshare(FLAGS[name]));
    if (name !== 'user') continue;
    jailStep('id maps', () => (mapper === undefined ? writeIdMaps(config, euid, egid) : mapper.write()));
  }
}

/** Everything after the namespaces, the seccomp filter aside. Needs no descriptor. Throws JailError. */
export function lockDown(config: JailConfig): void {
  const { root } = config;
  if (root === 'empty') jailStep('empty root', enterEmptyRoot);
  else if (root !== 'host') jailStep('shared folder as root', () => enterFolder(root));
  if (config.namespaces.includes('uts')) jailStep('host name', () => sethostname(HOST_NAME));
  dropPrivileges(config);
}

/** Limits, capabilities, no new privileges: what the process that waits for the device does too. Throws JailError. */
export function dropPrivileges(config: JailConfig): void {
  jailStep('limits', () => {
    for (const [name, value] of Object.entries(config.rlimits) as [RlimitName, number][]) {
      const { hard } = getRlimit(name);
      const limit = hard < BigInt(value) ? hard : BigInt(value);
      setRlimit(name, { soft: limit, hard: limit });
    }
  });
  jailStep('capabilities', () => {
    // An ordinary user outside of a namespace of his own may do neither, and without new privileges has no use of either.
    if (!config.namespaces.includes('user') && (getCapabilities().effective & CAP_SETPCAP) === 0n) return;
    dropBoundingSet();
    // NO_SETUID_FIXUP lets a change of user leave the rest to capset.
    setSecureBits(SECURE_BITS);
  });
  if (!config.namespaces.includes('user')) jailStep('user change', () => changeUser(config));
  else jailStep('user change', () => becomeFirst(config));
  jailStep('capabilities', () => {
    clearAmbientSet();
    const kept = BigInt(config.capabilities ?? 0);
    setCapabilities({ effective: kept, permitted: kept, inheritable: 0n });
  });
  jailStep('no new privileges', () => {
    setDumpable(config.dumpable);
    setNoNewPrivileges();
  });
}

/** Root leaves its supplementary groups, whoever it becomes, unless its own user namespace forbids that to all. */
function leaveGroups(): void {
  if (currentIds().euid !== 0) return;
  using file = Fd.open('/proc/self/setgroups');
  const text = Buffer.alloc('allow'.length);
  read(file.fd, text);
  if (text.toString('latin1') === 'allow') setGroups([]);
}

function changeUser({ user }: Pick<JailConfig, 'user'>): void {
  if (user === undefined) return;
  setGroup(user.gid);
  setUser(user.uid);
}

/** What its id is already where the map has that alone. */
function becomeFirst({ uidMap, gidMap }: JailConfig): void {
  if (gidMap !== undefined) setGroup(0);
  if (uidMap !== undefined) setUser(0);
}

/** Whether a process that has entered the namespace may not write the maps itself, user_namespaces(7). */
function mapsOthers({ uidMap = [], gidMap = [] }: JailConfig, uid: number, gid: number): boolean {
  const isOwn = (map: readonly IdMap[], id: number): boolean =>
    map.length <= 1 && map.every(({ outside, count }) => outside === id && count === 1);
  return !isOwn(uidMap, uid) || !isOwn(gidMap, gid);
}

/** A child that stays outside of the user namespace and writes its parent's maps. */
class IdMapper {
  readonly #pid: number;
  readonly #go: Fd;

  constructor(config: JailConfig) {
    const parent = getpid();
    const { reader, writer } = openPipe();
    this.#go = writer;
    this.#pid = fork();
    if (this.#pid === 0) runMapper(config, parent, { reader, writer });
    reader.close();
  }

  /** Once in the namespace. */
  write(): void {
    write(this.#go.fd, Uint8Array.of(0));
    this.#go.close();
    const status = waitPid(this.#pid);
    if ('exitCode' in status && status.exitCode === 0) return;
    throw new SyscallError('write', 'exitCode' in status ? status.exitCode : Errno.ESRCH, {
      path: '/proc/PID/uid_map',
    });
  }
}

/** Ends with the errno of what failed. */
function runMapper(config: JailConfig, pid: number, { reader, writer }: { reader: Fd; writer: Fd }): never {
  try {
    writer.close();
    if (read(reader.fd, new Uint8Array(1)) === 1) {
      writeWhole(`/proc/${pid}/setgroups`, 'deny');
      const { euid, egid } = currentIds();
      writeWhole(`/proc/${pid}/uid_map`, idMapText(config.uidMap ?? ownMap(euid)));
      writeWhole(`/proc/${pid}/gid_map`, idMapText(config.gidMap ?? ownMap(egid)));
    }
    exitNow(0);
  } catch (error) {
    exitNow(error instanceof SyscallError ? error.errno : Errno.EINVAL);
  }
}

const ownMap = (id: number): readonly IdMap[] => [{ inside: id, outside: id, count: 1 }];

function writeIdMaps({ uidMap, gidMap }: JailConfig, uid: number, gid: number): void {
  // Whoever may leave a group could get at a file that shuts out this group: the kernel wants this first of ordinary users.
  writeWhole('/proc/self/setgroups', 'deny');
  writeWhole('/proc/self/uid_map', idMapText(uidMap ?? ownMap(uid)));
  writeWhole('/proc/self/gid_map', idMapText(gidMap ?? ownMap(gid)));
}

/** These files take what they get in one write. */
function writeWhole(path: string, text: string): void {
  using file = Fd.open(path, OpenFlag.WRONLY);
  write(file.fd, Buffer.from(text));
}

/** The form of /proc/PID/uid_map, which takes all lines in one write. */
export function idMapText(map: readonly IdMap[]): string {
  return map.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join('');
}

function enterEmptyRoot(): void {
  mount({ source: 'none', target: '/', flags: MountFlag.REC | MountFlag.PRIVATE });
  const flags = MountFlag.RDONLY | MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC;
  mount({ source: 'none', target: MOUNT_POINT, type: 'tmpfs', flags, data: 'size=4k,nr_inodes=1,mode=555' });
  becomeRoot();
}

function enterFolder({ folder, readOnly }: FolderRoot): void {
  mount({ source: 'none', target: '/', flags: MountFlag.REC | MountFlag.PRIVATE });
  using tree = new Fd(cloneTree(folder));
  const { RDONLY, NOSUID, NODEV, NOEXEC } = MountAttribute;
  setTreeAttributes(tree.fd, NOSUID | NODEV | NOEXEC | (readOnly ? RDONLY : 0));
  attachTree(tree.fd, MOUNT_POINT);
  becomeRoot();
}

/** What is mounted at the mount point becomes the root, and nothing else is left. */
function becomeRoot(): void {
  chdir(MOUNT_POINT);
  // pivot_root(2), NOTES: with both names the same the old root lies over the new one, and the unmount uncovers it.
  pivotRoot('.', '.');
  umount('.', UmountFlag.DETACH);
  chdir('/');
}

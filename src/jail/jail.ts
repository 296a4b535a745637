/**
 * What minijail does for crosvm, for a process that has just been forked and has one thread. It is born into its user and pid namespaces
 * (`birthFlags`), its parent writes its id maps, and it does the rest: `enterNamespaces`, then `lockDown`.
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
import { Fd } from '#sys/fd.ts';
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
import { setNoNewPrivileges } from '#sys/seccomp.ts';
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

const BIRTH_NAMESPACES: readonly NamespaceName[] = ['user', 'pid'];

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

/** The namespaces into which a process can only be born, pid_namespaces(7), and the one that gives it the right to those, as bits of CloneFlag. */
export function birthFlags({ namespaces }: JailConfig): number {
  return BIRTH_NAMESPACES.filter((name) => namespaces.includes(name)).reduce((bits, name) => bits | FLAGS[name], 0);
}

/** Enters the namespaces that the process was not born in, the user namespace being the first of all. Throws JailError. */
export function enterNamespaces({ namespaces }: JailConfig): void {
  for (const name of NAMESPACES) {
    if (namespaces.includes(name) && !BIRTH_NAMESPACES.includes(name)) enterNamespace(name);
  }
}

/** Tries what `birthFlags` are for in a process that was born without them, to find out which it is that the host refuses. Throws JailError. */
export function tryBirthNamespaces({ namespaces }: JailConfig): void {
  for (const name of BIRTH_NAMESPACES) if (namespaces.includes(name)) enterNamespace(name);
}

function enterNamespace(name: NamespaceName): void {
  jailStep(`${name} namespace`, () => unshare(FLAGS[name]));
}

/** Everything after the namespaces, the seccomp filter aside. Needs no descriptor. Throws JailError. */
export function lockDown(config: JailConfig): void {
  const { root } = config;
  if (root === 'empty') jailStep('empty root', enterEmptyRoot);
  else if (root !== 'host') jailStep('shared folder as root', () => enterFolder(root));
  if (config.namespaces.includes('uts')) jailStep('host name', () => sethostname(HOST_NAME));
  dropPrivileges(config);
}

/** Limits, capabilities, no new privileges. */
function dropPrivileges(config: JailConfig): void {
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
  jailStep('user change', () => changeUser(config));
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

/** Root leaves its supplementary groups, for itself and all of its children, unless its own user namespace forbids that to all. Throws JailError. */
export function leaveGroups(): void {
  jailStep('user change', () => {
    if (currentIds().euid !== 0) return;
    using file = Fd.open('/proc/self/setgroups');
    const text = Buffer.alloc('allow'.length);
    read(file.fd, text);
    if (text.toString('latin1') === 'allow') setGroups([]);
  });
}

/** In a user namespace the map has this id, and with a map of the config's own that is 0. */
function changeUser({ namespaces, user, uidMap, gidMap }: JailConfig): void {
  const isMapped = namespaces.includes('user');
  const gid = isMapped && gidMap !== undefined ? 0 : user?.gid;
  const uid = isMapped && uidMap !== undefined ? 0 : user?.uid;
  if (gid !== undefined) setGroup(gid);
  if (uid !== undefined) setUser(uid);
}

/** Writes the maps of a child that has just been born into its user namespace, user_namespaces(7). The child has to wait for it. Throws JailError. */
export function writeIdMaps(pid: number, { user, uidMap, gidMap }: JailConfig): void {
  jailStep('id maps', () => {
    const { euid, egid } = currentIds();
    // Whoever may leave a group could get at a file that shuts out this group: the kernel wants this first of ordinary users.
    writeWhole(`/proc/${pid}/setgroups`, 'deny');
    writeWhole(`/proc/${pid}/uid_map`, idMapText(uidMap ?? ownMap(user?.uid ?? euid)));
    writeWhole(`/proc/${pid}/gid_map`, idMapText(gidMap ?? ownMap(user?.gid ?? egid)));
  });
}

const ownMap = (id: number): readonly IdMap[] => [{ inside: id, outside: id, count: 1 }];

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

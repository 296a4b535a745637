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
import { Fd } from '#sys/fd.ts';
import { OpenFlag, read, write } from '#sys/file.ts';
import {
  CloneFlag,
  chdir,
  MountFlag,
  mount,
  pivotRoot,
  sethostname,
  UmountFlag,
  umount,
  unshare,
} from '#sys/namespaces.ts';
import { clearAmbientSet, dropBoundingSet, SecureBit, setDumpable, setSecureBits } from '#sys/prctl.ts';
import { setNoNewPrivileges } from '#sys/seccomp.ts';
import { type IdMap, type JailConfig, NAMESPACES, type NamespaceName } from './jail-config.ts';
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
    jailStep(`${name} namespace`, () => unshare(FLAGS[name]));
    if (name === 'user') jailStep('id maps', () => writeIdMaps(config, euid, egid));
  }
}

/** Everything after the namespaces, the seccomp filter aside. Needs no descriptor. Throws JailError. */
export function lockDown(config: JailConfig): void {
  if (config.root === 'empty') jailStep('empty root', enterEmptyRoot);
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
  jailStep('capabilities', () => {
    clearAmbientSet();
    setCapabilities(NO_CAPABILITIES);
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

function changeUser({ user }: JailConfig): void {
  if (user === undefined) return;
  setGroup(user.gid);
  setUser(user.uid);
}

function writeIdMaps({ uidMap, gidMap }: JailConfig, uid: number, gid: number): void {
  // Whoever may leave a group could get at a file that shuts out this group: the kernel wants this first of ordinary users.
  writeWhole('/proc/self/setgroups', 'deny');
  writeWhole('/proc/self/uid_map', idMapText(uidMap ?? [{ inside: uid, outside: uid, count: 1 }]));
  writeWhole('/proc/self/gid_map', idMapText(gidMap ?? [{ inside: gid, outside: gid, count: 1 }]));
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
  chdir(MOUNT_POINT);
  // pivot_root(2), NOTES: with both names the same the old root lies over the new one, and the unmount uncovers it.
  pivotRoot('.', '.');
  umount('.', UmountFlag.DETACH);
  chdir('/');
}

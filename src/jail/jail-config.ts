import type { RlimitName } from '#sys/credentials.ts';

/** In the order in which they are entered: the user namespace gives the right to the others. */
export const NAMESPACES = ['user', 'pid', 'mount', 'net', 'ipc', 'uts', 'cgroup'] as const;
export type NamespaceName = (typeof NAMESPACES)[number];

/** A range of ids: `inside` is what the jailed process sees, `outside` what the host sees; user_namespaces(7). */
export interface IdMap {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** A folder of the host as the whole of what a jailed process sees, with what is mounted below it: nosuid, nodev, noexec. */
export interface FolderRoot {
  /** Absolute: every process of a warden has the host's root as its working directory. */
  readonly folder: string;
  readonly readOnly: boolean;
}

/**
 * What a device process may not do. It is data: it can be sent, printed and compared. What it does not name is fixed: the sets of
 * capabilities are emptied, no exec gives a privilege, secure bits are set and locked. The bounding set and the secure bits stay as they
 * are for an ordinary user without a user namespace, who may not change them.
 */
export interface JailConfig {
  /** Without 'user' only root can enter the others. 'pid' makes the device the namespace's first process. */
  readonly namespaces: readonly NamespaceName[];
  /** 'empty': a read-only tmpfs with nothing in it, which needs 'mount'. 'host': what the caller has. A folder needs 'mount' too. */
  readonly root: 'empty' | 'host' | FolderRoot;
  /** Who root becomes; without it the ids stay. With a user namespace that has no maps of its own, the one user that it has. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /**
   * By default the ids map to themselves. With maps the process becomes 0 inside, which they must have; those of more than the
   * caller's own id need CAP_SETUID and CAP_SETGID outside.
   */
  readonly uidMap?: readonly IdMap[] | undefined;
  readonly gidMap?: readonly IdMap[] | undefined;
  /** Capabilities over the user namespace that it keeps, as bits; none by default. */
  readonly capabilities?: number | undefined;
  /** Soft and hard limit in one. A host's hard limit that is lower stays. */
  readonly rlimits: Readonly<Partial<Record<RlimitName, number>>>;
  /** Whether a core may be dumped and the process's own user may trace it: for tests and debugging. */
  readonly dumpable: boolean;
  /** A program of `struct sock_filter`, installed last. Absent: no filter. */
  readonly seccomp?: Uint8Array | undefined;
  /**
   * The program returns SECCOMP_RET_USER_NOTIF for what is denied: the parent learns which call it was, and kills the process as the kernel
   * would, or has the call fail with EPERM. A host that gives no listener kills by itself. Absent: nobody is told.
   */
  readonly denied?: 'kill' | 'refuse' | undefined;
}

/** crosvm's create_base_minijail, with ipc, uts and cgroup namespaces besides, less the device's seccomp program. */
export const BASE_JAIL: JailConfig = {
  namespaces: NAMESPACES,
  root: 'empty',
  rlimits: { NOFILE: 1024, CORE: 0 },
  dumpable: false,
};

/** A jail's description as a message of limited size. */
import { arrayUpTo, converted, optional, struct, union } from '#msg-socket/composites.ts';
import type { MessageType } from '#msg-socket/message-type.ts';
import { bool, bytesUpTo, oneOf, textUpTo, u32, u64AsNumber, unit } from '#msg-socket/scalars.ts';
import { type RlimitName, RlimitResource } from '#sys/credentials.ts';
import { type IdMap, type JailConfig, NAMESPACES, type NamespaceName } from './jail-config.ts';
import { INSTRUCTIONS_MAX, SockFilter } from './seccomp/bpf.ts';

/** PATH_MAX without its NUL, uapi/linux/limits.h. */
const PATH_BYTES_MAX = 4095;
/** UID_GID_MAP_MAX_EXTENTS, linux/user_namespace.h. */
const ID_MAPS_MAX = 340;

const namespaces: MessageType<readonly NamespaceName[]> = arrayUpTo(oneOf(NAMESPACES), NAMESPACES.length);

const root = converted(
  union({ empty: unit, host: unit, folder: struct({ folder: textUpTo(PATH_BYTES_MAX), readOnly: bool }) }),
  {
    toWire: (value: JailConfig['root']) =>
      typeof value === 'string' ? { kind: value } : { kind: 'folder' as const, ...value },
    fromWire: (wire): JailConfig['root'] =>
      wire.kind === 'folder' ? { folder: wire.folder, readOnly: wire.readOnly } : wire.kind,
  },
);

const idMap: MessageType<readonly IdMap[]> = arrayUpTo(struct({ inside: u32, outside: u32, count: u32 }), ID_MAPS_MAX);

const RLIMIT_NAMES = Object.keys(RlimitResource).filter((name): name is RlimitName => name in RlimitResource);
const limit = optional(u64AsNumber);

const rlimits = converted(
  struct({
    CPU: limit,
    FSIZE: limit,
    DATA: limit,
    STACK: limit,
    CORE: limit,
    NPROC: limit,
    NOFILE: limit,
    MEMLOCK: limit,
    AS: limit,
    SIGPENDING: limit,
    MSGQUEUE: limit,
    NICE: limit,
    RTPRIO: limit,
  } satisfies Record<RlimitName, MessageType<number | undefined>>),
  {
    toWire: (limits: JailConfig['rlimits']) => limits,
    fromWire: (wire): JailConfig['rlimits'] => {
      const limits: Partial<Record<RlimitName, number>> = {};
      for (const name of RLIMIT_NAMES) {
        const value = wire[name];
        if (value !== undefined) limits[name] = value;
      }
      return limits;
    },
  },
);

/** JailConfig on the wire. */
export const JailMessage: MessageType<JailConfig> = struct({
  namespaces,
  root,
  user: optional(struct({ uid: u32, gid: u32 })),
  uidMap: optional(idMap),
  gidMap: optional(idMap),
  capabilities: optional(u64AsNumber),
  rlimits,
  dumpable: bool,
  seccomp: optional(bytesUpTo(INSTRUCTIONS_MAX * SockFilter.size)),
  denied: optional(oneOf(['kill', 'refuse'])),
});

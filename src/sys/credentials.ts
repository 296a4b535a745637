/** Who a process is and what it may do: ids, capabilities(7), limits. All throw SyscallError. */
import { i32, struct, u32, u64, viewOf } from '#util/struct.ts';
import { bind, lastError } from './ffi.ts';

/** `struct __user_cap_header_struct`, uapi/linux/capability.h. */
export const CapabilityHeader = struct({ version: u32, pid: i32 });
/** `struct __user_cap_data_struct`: 32 capabilities of each set. Version 3 has two of them. */
export const CapabilityData = struct({ effective: u32, permitted: u32, inheritable: u32 });
/** `struct rlimit`, uapi/linux/resource.h. */
export const Rlimit = struct({ soft: u64, hard: u64 });

const CAPABILITY_VERSION_3 = 0x20080522;
const SYS_CAPSET = 126;

/** Resources, asm-generic/resource.h. */
export const RlimitResource = {
  CPU: 0,
  FSIZE: 1,
  DATA: 2,
  STACK: 3,
  CORE: 4,
  NPROC: 6,
  NOFILE: 7,
  MEMLOCK: 8,
  AS: 9,
  SIGPENDING: 11,
  MSGQUEUE: 12,
  NICE: 13,
  RTPRIO: 14,
} as const;
export type RlimitName = keyof typeof RlimitResource;

/** The sets of a thread's capabilities, capability n as bit n. */
export interface CapabilitySets {
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
}

const c = {
  getuid: bind<() => number>('uint32_t getuid()'),
  geteuid: bind<() => number>('uint32_t geteuid()'),
  getgid: bind<() => number>('uint32_t getgid()'),
  getegid: bind<() => number>('uint32_t getegid()'),
  setresuid: bind<(real: number, effective: number, saved: number) => number>(
    'int setresuid(uint32_t, uint32_t, uint32_t)',
  ),
  setresgid: bind<(real: number, effective: number, saved: number) => number>(
    'int setresgid(uint32_t, uint32_t, uint32_t)',
  ),
  setgroups: bind<(count: number, groups: Uint8Array) => number>('int setgroups(size_t, void*)'),
  capget: bind<(header: Uint8Array, data: Uint8Array) => number>('int capget(void*, void*)'),
  capset: bind<(header: Uint8Array, data: Uint8Array) => number>('int capset(void*, void*)'),
  prlimit: bind<(pid: number, resource: number, limit: Uint8Array | null, old: Uint8Array | null) => number>(
    'int prlimit(int, int, void*, void*)',
  ),
};

/** The ids of the process now; Node's own `process.getuid` asks the kernel too. */
export function currentIds(): { uid: number; euid: number; gid: number; egid: number } {
  return { uid: c.getuid(), euid: c.geteuid(), gid: c.getgid(), egid: c.getegid() };
}

/** Becomes this user for good: real, effective and saved id. */
export function setUser(uid: number): void {
  if (c.setresuid(uid, uid, uid) < 0) throw lastError('setresuid');
}

/** Becomes a member of this group for good. Before `setUser`, which gives the right to it away. */
export function setGroup(gid: number): void {
  if (c.setresgid(gid, gid, gid) < 0) throw lastError('setresgid');
}

/** Replaces the supplementary groups. */
export function setGroups(groups: readonly number[]): void {
  if (c.setgroups(groups.length, new Uint8Array(Uint32Array.from(groups).buffer)) < 0) throw lastError('setgroups');
}

const header = () => CapabilityHeader.encode({ version: CAPABILITY_VERSION_3 });
const low = (set: bigint) => Number(set & 0xffff_ffffn);
const high = (set: bigint) => Number(set >> 32n);

/** The calling thread's sets. */
export function getCapabilities(): CapabilitySets {
  const data = new Uint8Array(2 * CapabilityData.size);
  if (c.capget(header(), data) < 0) throw lastError('capget');
  const first = CapabilityData.decode(viewOf(data));
  const second = CapabilityData.decode(viewOf(data), CapabilityData.size);
  const join = (name: keyof typeof first) => BigInt(first[name]) | (BigInt(second[name]) << 32n);
  return { effective: join('effective'), permitted: join('permitted'), inheritable: join('inheritable') };
}

/** What capset(2) takes for these sets, and its number in arch/x86/entry/syscalls/syscall_64.tbl. */
export function capsetCall(sets: CapabilitySets): { readonly number: number; readonly arguments: Uint8Array[] } {
  return { number: SYS_CAPSET, arguments: [header(), capabilityData(sets)] };
}

/** Sets the calling thread's three sets; the bounding and ambient sets are prctl's. */
export function setCapabilities(sets: CapabilitySets): void {
  if (c.capset(header(), capabilityData(sets)) < 0) throw lastError('capset');
}

function capabilityData({ effective, permitted, inheritable }: CapabilitySets): Uint8Array {
  const data = new Uint8Array(2 * CapabilityData.size);
  const view = viewOf(data);
  const half = (part: (set: bigint) => number) => ({
    effective: part(effective),
    permitted: part(permitted),
    inheritable: part(inheritable),
  });
  CapabilityData.set(view, 0, half(low));
  CapabilityData.set(view, CapabilityData.size, half(high));
  return data;
}

/** A resource's limits of this process. 2^64 - 1 is no limit. */
export function getRlimit(name: RlimitName): { soft: bigint; hard: bigint } {
  const limit = new Uint8Array(Rlimit.size);
  if (c.prlimit(0, RlimitResource[name], null, limit) < 0) throw lastError('prlimit64');
  return Rlimit.decode(viewOf(limit));
}

/** Sets both limits of this process. EPERM: above the hard limit, which only privilege raises. */
export function setRlimit(name: RlimitName, limit: { soft: bigint; hard: bigint }): void {
  if (c.prlimit(0, RlimitResource[name], Rlimit.encode(limit), null) < 0) throw lastError('prlimit64');
}

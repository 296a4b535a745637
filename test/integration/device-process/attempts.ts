/**
 * What somebody tries who runs code of his own in a device's process. Each attempt is made in a process of its own, for the
 * kernel kills it: escape-entry.ts makes it there, escape.test.ts judges it.
 */
import { constants } from 'node:os';
import { X86_64 } from '#jail/seccomp/architecture.ts';
import { addressOf, bind, errno } from '#sys/ffi.ts';
import { MapFlag, Prot } from '#sys/memory.ts';
import { functionAt } from '#sys/native-code.ts';
import { Signal } from '#sys/signal.ts';
import { SocketType } from '#sys/socket.ts';

/** A number, or memory whose address is meant. */
type Argument = number | bigint | Uint8Array;

/** What an attempt has at hand. */
export interface Tools {
  /** The call's result, or its errno as a negative number. */
  readonly call: (name: string | number, ...args: readonly Argument[]) => number;
  /** A process of the host that the device has nothing to do with: it stands for main. */
  readonly victim: number;
  /** Descriptors of the device. */
  readonly socket: number;
  readonly guestMemory: number;
  /** The kind's own: a disk image or persistent memory's file open for reading, or the host's random bytes; -1 where it has none. */
  readonly own: number;
  /** The end of a mapping that can be written and executed, 0 without one. */
  readonly writableCodeEnd: number;
}

export interface Attempt {
  readonly name: string;
  /** What came of it: not negative, or a negative errno. */
  readonly make: (tools: Tools) => number;
  /** Without jail and filter it is known to succeed: what shows that the attempt is made as it should be. */
  readonly succeedsFree?: true;
  /** It forks, blocks or harms: it is made under the filter alone. */
  readonly onlyFiltered?: true;
}

const syscall = bind<(number: number, ...args: bigint[]) => number>(
  'int64_t syscall(long, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t)',
);

/** Makes one system call, by the name of the kernel's table or by number. */
export function call(name: string | number, ...args: readonly Argument[]): number {
  const number = typeof name === 'number' ? name : X86_64.systemCalls.get(name);
  if (number === undefined) throw new Error(`no system call ${name}`);
  const words = args.map((each) => (each instanceof Uint8Array ? BigInt(addressOf(each)) : BigInt(each)));
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = words.map((word) => BigInt.asUintN(64, word));
  const result = Number(syscall(number, a, b, c, d, e, f));
  return result === -1 ? -errno() : result;
}

/** Kept for the process's life: what the kernel reads must not move. */
const kept: Uint8Array[] = [];
function memory(content: string | readonly number[] = '', sizeBytes = 256): Uint8Array {
  const bytes = Buffer.alloc(sizeBytes);
  bytes.set(typeof content === 'string' ? Buffer.from(content) : content);
  kept.push(bytes);
  return bytes;
}

/** `struct iovec` of eight bytes. */
function vector(): Uint8Array {
  return memory([...new Uint8Array(BigUint64Array.of(BigInt(addressOf(memory())), 8n).buffer)]);
}

const AT_FDCWD = -100;
const UPWARDS = '../../../../../../../../etc/passwd';
const O = { RDONLY: 0, WRONLY: 1, CREAT: 0o100, DIRECTORY: 0o200000, PATH: 0o10000000 } as const;
const AF = { UNIX: 1, INET: 2, NETLINK: 16, PACKET: 17, VSOCK: 40 } as const;
const PTRACE = { TRACEME: 0, ATTACH: 16, SEIZE: 0x4206 } as const;
const PR = { SET_DUMPABLE: 4, SET_SECCOMP: 22, SET_NO_NEW_PRIVS: 38, CAP_AMBIENT: 47 } as const;
const CLONE = { NEWNS: 0x20000, NEWUSER: 0x10000000, NEWNET: 0x40000000 } as const;
const PAGE = 4096;
const WX = Prot.WRITE | Prot.EXEC;
const ANONYMOUS = MapFlag.PRIVATE | MapFlag.ANONYMOUS;

/** An attempt that is one call. */
function one(
  name: string,
  number: string,
  args: (tools: Tools) => readonly Argument[],
  more: Partial<Attempt> = {},
): Attempt {
  return { name, make: (tools) => tools.call(number, ...args(tools)), ...more };
}

const free = { succeedsFree: true } as const;
const filtered = { onlyFiltered: true } as const;

const FILES: readonly Attempt[] = [
  one('open /', 'open', () => [memory('/'), O.RDONLY | O.DIRECTORY], free),
  one('open / as a path alone', 'open', () => [memory('/'), O.PATH], free),
  one('open /proc/self/mem', 'open', () => [memory('/proc/self/mem'), O.RDONLY], free),
  one('open the memory of another process', 'openat', ({ victim }) => [AT_FDCWD, memory(`/proc/${victim}/mem`), 0]),
  one('open /dev/null', 'open', () => [memory('/dev/null'), O.RDONLY], free),
  one('open /etc/passwd', 'openat', () => [AT_FDCWD, memory('/etc/passwd'), O.RDONLY], free),
  one('make a file', 'open', () => [memory('/escaped'), O.WRONLY | O.CREAT, 0o600], filtered),
  one('creat', 'creat', () => [memory('/escaped'), 0o600], filtered),
  one('openat2 /', 'openat2', () => [AT_FDCWD, memory('/'), memory(), 24], free),
  one('openat2 /etc/passwd', 'openat2', () => [AT_FDCWD, memory('/etc/passwd'), memory(), 24], free),
  one('openat2 /proc/self/mem', 'openat2', () => [AT_FDCWD, memory('/proc/self/mem'), memory(), 24], free),
  one('openat2 from / upwards', 'openat2', () => [AT_FDCWD, memory(`/${UPWARDS}`), memory(), 24], free),
  { name: 'openat2 from any descriptor upwards', make: (tools) => fromDescriptors(tools, UPWARDS) },
  {
    name: 'openat2 from any descriptor to the memory of its process',
    make: (tools) => fromDescriptors(tools, '../mem'),
  },
  { name: 'openat2 of a link to /etc/passwd', make: throughLink, onlyFiltered: true },
  one('make a device', 'mknodat', () => [AT_FDCWD, memory('/device'), 0o20600, 0x103], filtered),
  one('make a file of another owner', 'fchownat', () => [AT_FDCWD, memory('/file'), 1, 1, 0], filtered),
  one('open by handle', 'open_by_handle_at', () => [AT_FDCWD, memory(), O.RDONLY]),
  one('stat /', 'stat', () => [memory('/'), memory()], free),
  one('readlink /proc/self/exe', 'readlink', () => [memory('/proc/self/exe'), memory(), 200], free),
  one('list a directory', 'getdents64', ({ own }) => [own, memory(), 256]),
  one('chdir', 'chdir', () => [memory('/')], free),
  one('chroot', 'chroot', () => [memory('/')]),
  one('mkdir', 'mkdir', () => [memory('/escaped'), 0o700], filtered),
  one('unlink', 'unlink', () => [memory('/escaped')]),
  one('chmod of an own descriptor', 'fchmod', ({ own }) => [own, 0o4777], filtered),
  one('memfd_create', 'memfd_create', () => [memory('x'), 0], free),
  one('name_to_handle_at', 'name_to_handle_at', () => [AT_FDCWD, memory('/'), memory([128]), memory(), 0]),
];

/** The best that comes of a path below each descriptor that there may be. */
function fromDescriptors(tools: Tools, path: string): number {
  let best = -constants.errno.ERANGE;
  for (let fd = 3; fd < 64; fd++) best = Math.max(best, tools.call('openat2', fd, memory(path), memory(), 24));
  return best;
}

function throughLink(tools: Tools): number {
  const made = tools.call('symlinkat', memory('/etc/passwd'), AT_FDCWD, memory('/link'));
  return made < 0 ? made : tools.call('openat2', AT_FDCWD, memory('/link'), memory(), 24);
}

const DESCRIPTORS: readonly Attempt[] = [
  one('shrink the guest memory', 'ftruncate', ({ guestMemory }) => [guestMemory, 0]),
  one('grow the guest memory', 'ftruncate', ({ guestMemory }) => [guestMemory, 2 ** 40]),
  one('seal the guest memory', 'fcntl', ({ guestMemory }) => [guestMemory, 1033, 0x10]),
  one('truncate what is open for reading', 'ftruncate', ({ own }) => [own, 0]),
  one('write to what is open for reading', 'write', ({ own }) => [own, memory('x'), 1]),
  one('pwrite to what is open for reading', 'pwrite64', ({ own }) => [own, memory('x'), 1, 0]),
  one('punch a hole into what is open for reading', 'fallocate', ({ own }) => [own, 3, 0, PAGE]),
  one('allocate space', 'fallocate', ({ own }) => [own, 0, 0, 2 ** 40]),
  one('map what is open for reading, to be written', 'mmap', ({ own }) => [
    0,
    PAGE,
    Prot.WRITE,
    MapFlag.SHARED,
    own,
    0,
  ]),
  one('fcntl F_SETFL', 'fcntl', ({ socket }) => [socket, 4, 0], free),
  one('fcntl F_SETOWN another process', 'fcntl', ({ socket, victim }) => [socket, 8, victim], free),
  one('ioctl FIONBIO', 'ioctl', ({ socket }) => [socket, 0x5421, memory()], free),
  one('ioctl TIOCSTI', 'ioctl', () => [0, 0x5412, memory('x')]),
  one('getsockopt SO_PEERCRED', 'getsockopt', ({ socket }) => [socket, 1, 17, memory(), memory([12])], free),
  one('setsockopt SO_SNDBUF', 'setsockopt', ({ socket }) => [socket, 1, 7, memory([0, 0, 1]), 4], free),
  { name: 'open more than 1024 descriptors', make: manyDescriptors, onlyFiltered: true },
];

function manyDescriptors(tools: Tools): number {
  for (let i = 0; i < 1100; i++) {
    const result = tools.call('epoll_create1', 0);
    if (result < 0) return result;
  }
  return 0;
}

const NETWORK: readonly Attempt[] = [
  ...Object.entries(AF).map(([name, family]) => {
    const type = family === AF.NETLINK || family === AF.PACKET ? 3 : SocketType.STREAM;
    return one(`socket AF_${name}`, 'socket', () => [family, type, 0], family <= AF.INET ? free : {});
  }),
  one('socketpair', 'socketpair', () => [AF.UNIX, SocketType.STREAM, 0, memory()], free),
  one('connect an own socket', 'connect', ({ socket }) => [socket, memory([AF.UNIX, 0, 0x2f]), 4]),
  one('bind an own socket', 'bind', ({ socket }) => [socket, memory([AF.UNIX, 0]), 2], free),
  one('listen', 'listen', ({ socket }) => [socket, 1]),
  one('accept', 'accept4', ({ socket }) => [socket, 0, 0, 0]),
  { name: 'connect over TCP', make: connectTcp },
];

function connectTcp(tools: Tools): number {
  const fd = tools.call('socket', AF.INET, SocketType.STREAM, 0);
  // 192.0.2.1 is nobody's, RFC 5737; not blocking, for EINPROGRESS would be a network.
  tools.call('ioctl', fd, 0x5421, memory([1]));
  return fd < 0 ? fd : tools.call('connect', fd, memory([AF.INET, 0, 0, 9, 192, 0, 2, 1]), 16);
}

const PROCESSES: readonly Attempt[] = [
  one('execve', 'execve', () => [memory('/proc/self/exe'), 0, 0], filtered),
  one('execveat', 'execveat', ({ own }) => [own, memory(), 0, 0, 0x1000], filtered),
  one('fork', 'fork', () => [], filtered),
  one('vfork', 'vfork', () => [], filtered),
  one('clone', 'clone', () => [Signal.SIGCHLD, 0, 0, 0, 0], filtered),
  one('clone of a thread', 'clone', () => [0x10f00, 0, 0, 0, 0], filtered),
  one('clone3', 'clone3', () => [memory(), 88], filtered),
  one('kill another process', 'kill', ({ victim }) => [victim, 0], free),
  one('kill everything', 'kill', () => [-1, Signal.SIGKILL], filtered),
  one('tkill', 'tkill', ({ victim }) => [victim, Signal.SIGKILL], filtered),
  one('tgkill with SIGKILL', 'tgkill', ({ victim }) => [victim, victim, Signal.SIGKILL], filtered),
  one('abort another process', 'tgkill', ({ victim }) => [victim, victim, Signal.SIGABRT], filtered),
  one('queue a signal', 'rt_sigqueueinfo', ({ victim }) => [victim, Signal.SIGKILL, memory()], filtered),
  one('pidfd_open of another process', 'pidfd_open', ({ victim }) => [victim, 0], free),
  one('pidfd_open of itself', 'pidfd_open', ({ call: ask }) => [ask('getpid'), 0], free),
  one('pidfd_send_signal', 'pidfd_send_signal', ({ own }) => [own, 0, 0, 0]),
  one('pidfd_getfd', 'pidfd_getfd', ({ own }) => [own, 0, 0]),
  one('ptrace TRACEME', 'ptrace', () => [PTRACE.TRACEME, 0, 0, 0], filtered),
  one('ptrace ATTACH', 'ptrace', ({ victim }) => [PTRACE.ATTACH, victim, 0, 0], filtered),
  one('ptrace SEIZE', 'ptrace', ({ victim }) => [PTRACE.SEIZE, victim, 0, 0], filtered),
  one('process_vm_readv', 'process_vm_readv', ({ victim }) => [victim, vector(), 1, vector(), 1, 0]),
  one('process_vm_writev', 'process_vm_writev', ({ victim }) => [victim, vector(), 1, vector(), 1, 0]),
  one('process_madvise', 'process_madvise', ({ own }) => [own, memory(), 1, 4, 0]),
  one('kcmp', 'kcmp', ({ victim }) => [victim, victim, 0, 0, 0]),
  one('get_robust_list of another process', 'get_robust_list', ({ victim }) => [victim, memory(), memory()]),
  one('wait for a child', 'wait4', () => [-1, 0, 1, 0]),
];

const PRIVILEGES: readonly Attempt[] = [
  one('mount', 'mount', () => [memory('none'), memory('/'), memory('tmpfs'), 0, 0], filtered),
  one('umount', 'umount2', () => [memory('/'), 2], filtered),
  one('pivot_root', 'pivot_root', () => [memory('.'), memory('.')], filtered),
  one('fsopen', 'fsopen', () => [memory('tmpfs'), 0]),
  one('open_tree', 'open_tree', () => [AT_FDCWD, memory('/'), 1]),
  one('mount_setattr', 'mount_setattr', () => [AT_FDCWD, memory('/'), 0, memory(), 32]),
  one('unshare the user', 'unshare', () => [CLONE.NEWUSER]),
  one('unshare the mounts', 'unshare', () => [CLONE.NEWNS]),
  one('setns', 'setns', ({ own }) => [own, CLONE.NEWNET]),
  one('setuid 0', 'setuid', () => [0]),
  one('setresgid 0', 'setresgid', () => [0, 0, 0]),
  one('setgroups', 'setgroups', () => [0, 0]),
  one('capset', 'capset', () => [memory([0x22, 0x05, 0x08, 0x20]), memory(Array(24).fill(0xff))]),
  one('prctl: dumpable', 'prctl', () => [PR.SET_DUMPABLE, 1], free),
  one('prctl: seccomp', 'prctl', () => [PR.SET_SECCOMP, 2, memory()]),
  one('prctl: ambient capabilities', 'prctl', () => [PR.CAP_AMBIENT, 2, 21, 0, 0]),
  one('seccomp', 'seccomp', () => [1, 0, memory()]),
  one('prlimit of another process', 'prlimit64', ({ victim }) => [victim, 7, 0, memory()]),
  one('raise a limit', 'setrlimit', () => [7, memory(Array(16).fill(0xff))]),
  one('sethostname', 'sethostname', () => [memory('x'), 1], filtered),
  one('settimeofday', 'settimeofday', () => [memory(), 0], filtered),
  one('setpriority', 'setpriority', () => [0, 0, -20]),
  one('sched_setaffinity', 'sched_setaffinity', () => [0, 8, memory([1])], free),
];

const KERNEL: readonly Attempt[] = [
  one('bpf', 'bpf', () => [0, memory(), 128]),
  one('io_uring_setup', 'io_uring_setup', () => [8, memory()]),
  one('io_uring_enter', 'io_uring_enter', ({ own }) => [own, 1, 0, 0, 0, 0]),
  one('keyctl', 'keyctl', () => [0, -3, 1]),
  one('add_key', 'add_key', () => [memory('user'), memory('x'), memory('x'), 1, -3]),
  one('request_key', 'request_key', () => [memory('user'), memory('x'), 0, 0]),
  one('perf_event_open', 'perf_event_open', () => [memory(), 0, -1, -1, 0]),
  one('userfaultfd', 'userfaultfd', () => [0]),
  one('init_module', 'init_module', () => [memory(), 16, memory()], filtered),
  one('finit_module', 'finit_module', ({ own }) => [own, memory(), 0], filtered),
  one('kexec_load', 'kexec_load', () => [0, 0, 0, 0], filtered),
  one('reboot', 'reboot', () => [0, 0, 0, 0], filtered),
  one('syslog', 'syslog', () => [2, memory(), 128]),
  one('iopl', 'iopl', () => [3]),
  one('ioperm', 'ioperm', () => [0x80, 1, 1]),
  one('modify_ldt', 'modify_ldt', () => [1, memory(), 16], filtered),
  one('arch_prctl', 'arch_prctl', () => [0x1003, memory()], free),
  one('inotify_init1', 'inotify_init1', () => [0], free),
  one('fanotify_init', 'fanotify_init', () => [0, 0]),
  one('landlock_create_ruleset', 'landlock_create_ruleset', () => [0, 0, 1]),
  one('shmget', 'shmget', () => [0, PAGE, 0o1600], filtered),
  one('mq_open', 'mq_open', () => [memory('x'), 0, 0, 0]),
  one('splice', 'splice', ({ own, socket }) => [own, 0, socket, 0, 1, 0]),
  one('vmsplice', 'vmsplice', ({ socket }) => [socket, memory(), 1, 0]),
  // As the x32 convention numbers it, asm/unistd.h.
  { name: 'getpid of x32', make: (tools) => tools.call(0x4000_0000 + 39) },
];

/** mov eax, 42; ret. */
const CODE = [0xb8, 42, 0, 0, 0, 0xc3] as const;

const CODE_ATTEMPTS: readonly Attempt[] = [
  one('map memory to execute', 'mmap', () => [0, PAGE, Prot.READ | Prot.EXEC, ANONYMOUS, -1, 0], free),
  one('map memory to write and execute', 'mmap', () => [0, PAGE, Prot.READ | WX, ANONYMOUS, -1, 0], free),
  one(
    'map the guest memory to execute',
    'mmap',
    ({ guestMemory }) => [0, PAGE, Prot.READ | WX, 1, guestMemory, 0],
    free,
  ),
  { name: 'make mapped memory executable', make: (tools) => executable(tools, Prot.READ | Prot.EXEC), ...free },
  { name: 'the same, with the high half of the argument set', make: (tools) => executable(tools, 2 ** 32 + WX) },
  { name: 'the same with a key', make: (tools) => executable(tools, WX, 'pkey_mprotect'), ...free },
  one('personality READ_IMPLIES_EXEC', 'personality', () => [0x0400000], free),
  { name: 'load a library', make: loadLibrary },
  { name: 'machine code in pages of V8', make: overwriteCode },
  { name: 'JavaScript from text', make: () => Number(new Function('return 42')()), ...free },
];

function executable(tools: Tools, protection: number, number = 'mprotect'): number {
  const address = tools.call('mmap', 0, PAGE, Prot.READ | Prot.WRITE, ANONYMOUS, -1, 0);
  return tools.call(number, address, PAGE, protection, -1);
}

function loadLibrary(): number {
  try {
    process.dlopen({ exports: {} }, '/crosvm/library.so');
    return 0;
  } catch {
    // Whether there is such a file could be looked up.
    return -constants.errno.ENOENT;
  }
}

/** Where V8 leaves code writable, whoever can write to an address can execute what he wrote. */
function overwriteCode({ writableCodeEnd, call: ask }: Tools): number {
  if (writableCodeEnd === 0) return -1;
  const target = writableCodeEnd - 16;
  // read(2) from a socket would do it as well: what writes does not matter.
  writeAt(target, CODE);
  functionAt(target)();
  return ask('getpid');
}

function writeAt(address: number, bytes: readonly number[]): void {
  const copy = bind<(to: number, from: Uint8Array, size: number) => number>(
    'uintptr_t memcpy(uintptr_t, const void *, size_t)',
  );
  copy(address, memory(bytes), bytes.length);
}

export const ATTEMPTS: readonly Attempt[] = [
  ...FILES,
  ...DESCRIPTORS,
  ...NETWORK,
  ...PROCESSES,
  ...PRIVILEGES,
  ...KERNEL,
  ...CODE_ATTEMPTS,
];

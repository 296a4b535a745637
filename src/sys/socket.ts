/** Unix sockets. All throw SyscallError. */
import { i32, struct, u32, viewOf } from '#util/struct.ts';
import { bind, checkedPath, errno, lastError } from './ffi.ts';
import { Errno, SyscallError } from './syscall-error.ts';

/** Socket types and flags, uapi/linux/net.h. CLOEXEC is always added. */
export const SocketType = { STREAM: 1, DGRAM: 2, SEQPACKET: 5, NONBLOCK: 0o4000 } as const;

const AF_UNIX = 1;
const SOCK_CLOEXEC = 0o2000000;

/** `struct sockaddr_un`, uapi/linux/un.h: the family and 108 bytes of path, NUL included. */
const SUN_PATH = { OFFSET: 2, SIZE_BYTES: 108 } as const;

/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/** `struct ucred`, sys/socket.h. */
export const Ucred = struct({ pid: i32, uid: u32, gid: u32 });

/** shutdown(2). */
export const Shutdown = { READ: 0, WRITE: 1, BOTH: 2 } as const;

const c = {
  socket: bind<(domain: number, type: number, protocol: number) => number>('int socket(int, int, int)'),
  socketpair: bind<(domain: number, type: number, protocol: number, fds: Uint8Array) => number>(
    'int socketpair(int, int, int, void*)',
  ),
  bind: bind<(fd: number, address: Uint8Array, length: number) => number>('int bind(int, void*, unsigned int)'),
  connect: bind<(fd: number, address: Uint8Array, length: number) => number>('int connect(int, void*, unsigned int)'),
  listen: bind<(fd: number, backlog: number) => number>('int listen(int, int)'),
  accept4: bind<(fd: number, address: null, length: null, flags: number) => number>(
    'int accept4(int, void*, void*, int)',
  ),
  shutdown: bind<(fd: number, how: number) => number>('int shutdown(int, int)'),
  getsockopt: bind<(fd: number, level: number, option: number, value: Uint8Array, size: Uint8Array) => number>(
    'int getsockopt(int, int, int, void*, void*)',
  ),
};

/** A Unix socket of a SocketType, perhaps with NONBLOCK. */
export function socket(type: number): number {
  const fd = c.socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  if (fd < 0) throw lastError('socket');
  return fd;
}

/** Two connected Unix sockets. */
export function socketpair(type: number): [number, number] {
  const fds = new Uint8Array(8);
  if (c.socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0) throw lastError('socketpair');
  const view = new DataView(fds.buffer);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

/** Throws SyscallError ENAMETOOLONG when the path does not fit, where the kernel would say EINVAL. */
function unixAddress(syscall: string, path: string): Uint8Array {
  const encoded = new TextEncoder().encode(checkedPath(syscall, path));
  if (encoded.length >= SUN_PATH.SIZE_BYTES) throw new SyscallError(syscall, Errno.ENAMETOOLONG, { path });
  const address = new Uint8Array(SUN_PATH.OFFSET + encoded.length + 1);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(encoded, SUN_PATH.OFFSET);
  return address;
}

/** Makes the socket file `path`; EADDRINUSE when there is a file. */
export function bindUnix(fd: number, path: string): void {
  const address = unixAddress('bind', path);
  if (c.bind(fd, address, address.length) < 0) throw lastError('bind', { fd, path });
}

/** Not retried on EINTR: Unix sockets connect at once or fail, and a non-blocking one says EAGAIN or EINPROGRESS. */
export function connectUnix(fd: number, path: string): void {
  const address = unixAddress('connect', path);
  if (c.connect(fd, address, address.length) < 0) throw lastError('connect', { fd, path });
}

export function listen(fd: number, backlog = 1): void {
  if (c.listen(fd, backlog) < 0) throw lastError('listen', { fd });
}

/** The next connection, or undefined when there is none yet (non-blocking). `flags`: SocketType.NONBLOCK. EINTR is retried. */
export function tryAccept(fd: number, flags = 0): number | undefined {
  for (;;) {
    const connection = c.accept4(fd, null, null, flags | SOCK_CLOEXEC);
    if (connection >= 0) return connection;
    const code = errno();
    if (code === Errno.EAGAIN) return undefined;
    if (code !== Errno.EINTR) throw lastError('accept4', { fd });
  }
}

/** Who the other end was when it connected: its process and effective ids, as this process's namespaces number them. */
export function peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number } {
  const value = new Uint8Array(Ucred.size);
  const size = new Uint8Array(Uint32Array.of(value.length).buffer);
  if (c.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, size) < 0) throw lastError('getsockopt', { fd });
  return Ucred.decode(viewOf(value));
}

export function shutdown(fd: number, how: number): void {
  if (c.shutdown(fd, how) < 0) throw lastError('shutdown', { fd });
}

/** send(2) flags, uapi/linux/socket.h. */
const MSG = { DONTWAIT: 0x40, NOSIGNAL: 0x4000 } as const;

const send = bind<(fd: number, source: Uint8Array, count: number, flags: number) => number>(
  'int64_t send(int, void*, size_t, int)',
);

/**
 * Sends without waiting, whatever the descriptor's flags; a closed peer is EPIPE and no signal. Returns the count, which may be
 * short on a stream, or undefined when there is no room. Retried on EINTR.
 */
export function trySend(fd: number, source: Uint8Array, sizeBytes: number): number | undefined {
  for (;;) {
    const result = send(fd, source, Math.min(sizeBytes, source.length), MSG.DONTWAIT | MSG.NOSIGNAL);
    if (result >= 0) return result;
    const code = errno();
    if (code === Errno.EAGAIN) return undefined;
    if (code !== Errno.EINTR) throw lastError('send', { fd });
  }
}

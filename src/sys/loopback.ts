/** TCP on this host's loopback interface, ip(7) and tcp(7). */
import { Fd } from './fd.ts';
import { bind, lastError } from './ffi.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** asm-generic/socket.h, uapi/linux/tcp.h. */
const OPTION = { SOL_SOCKET: 1, SO_REUSEADDR: 2, IPPROTO_TCP: 6, TCP_NODELAY: 1 } as const;

/** `struct sockaddr_in`: the port and the address in network order. */
const SOCKADDR_IN = { FAMILY: 0, PORT: 2, ADDRESS: 4, SIZE_BYTES: 16 } as const;
const LOOPBACK = 0x7f00_0001;

const c = {
  socket: bind<(domain: number, type: number, protocol: number) => number>('int socket(int, int, int)'),
  setsockopt: bind<(fd: number, level: number, option: number, value: Uint8Array, size: number) => number>(
    'int setsockopt(int, int, int, void*, unsigned int)',
  ),
  bind: bind<(fd: number, address: Uint8Array, length: number) => number>('int bind(int, void*, unsigned int)'),
  listen: bind<(fd: number, backlog: number) => number>('int listen(int, int)'),
};

/** A non-blocking socket that listens at 127.0.0.1; what it accepts sends without delay. Throws SyscallError. */
export function listenLoopback(port: number): Fd {
  const number = c.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (number < 0) throw lastError('socket');
  const fd = new Fd(number);
  try {
    setOption(fd, OPTION.SOL_SOCKET, OPTION.SO_REUSEADDR);
    setOption(fd, OPTION.IPPROTO_TCP, OPTION.TCP_NODELAY);
    const address = new Uint8Array(SOCKADDR_IN.SIZE_BYTES);
    const view = new DataView(address.buffer);
    view.setUint16(SOCKADDR_IN.FAMILY, AF_INET, true);
    view.setUint16(SOCKADDR_IN.PORT, port);
    view.setUint32(SOCKADDR_IN.ADDRESS, LOOPBACK);
    if (c.bind(fd.fd, address, address.length) < 0) throw lastError('bind', { fd: fd.fd });
    if (c.listen(fd.fd, 1) < 0) throw lastError('listen', { fd: fd.fd });
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

function setOption({ fd }: Fd, level: number, option: number): void {
  const one = Uint8Array.of(1, 0, 0, 0);
  if (c.setsockopt(fd, level, option, one, one.length) < 0) throw lastError('setsockopt', { fd });
}

/** IPv4 addresses of network interfaces, netdevice(7). Needs CAP_NET_ADMIN. */

import { Fd } from './fd.ts';
import { bind, lastError } from './ffi.ts';

/** uapi/linux/sockios.h. */
const REQUEST = { GETFLAGS: 0x8913, SETFLAGS: 0x8914, SETADDRESS: 0x8916, SETNETMASK: 0x891c } as const;
const REQUEST_NAMES = new Map(Object.entries(REQUEST).map(([name, value]) => [value, name] as const));

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
/** uapi/linux/if.h. */
const IFF_UP = 1;

/** `struct ifreq`, uapi/linux/if.h: the name with its NUL, then a union, here of flags or of a `sockaddr_in`, ip(7). */
const IFREQ = { NAME_BYTES: 16, FLAGS: 16, FAMILY: 16, ADDRESS: 20, SIZE_BYTES: 40 } as const;

const c = {
  socket: bind<(domain: number, type: number, protocol: number) => number>('int socket(int, int, int)'),
  ioctl: bind<(fd: number, request: number, argument: Uint8Array) => number>(
    'int ioctl(int fd, unsigned long request, void *argument)',
  ),
};

export interface Ipv4Address {
  /** Four bytes each. */
  readonly address: Uint8Array;
  readonly netmask: Uint8Array;
}

/** Gives an interface of this network namespace its address and takes it up. Throws SyscallError. */
export function configureInterface(name: string, { address, netmask }: Ipv4Address): void {
  const number = c.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (number < 0) throw lastError('socket');
  using socket = new Fd(number);
  const ask = (request: (typeof REQUEST)[keyof typeof REQUEST], argument: Uint8Array): void => {
    if (c.ioctl(socket.fd, request, argument) < 0) {
      throw lastError(`ioctl SIOC ${REQUEST_NAMES.get(request)}`, { path: name });
    }
  };
  ask(REQUEST.SETADDRESS, withAddress(name, address));
  ask(REQUEST.SETNETMASK, withAddress(name, netmask));
  const flags = requestOf(name);
  ask(REQUEST.GETFLAGS, flags);
  const view = new DataView(flags.buffer);
  view.setUint16(IFREQ.FLAGS, view.getUint16(IFREQ.FLAGS, true) | IFF_UP, true);
  ask(REQUEST.SETFLAGS, flags);
}

function requestOf(name: string): Uint8Array<ArrayBuffer> {
  const request = new Uint8Array(IFREQ.SIZE_BYTES);
  new TextEncoder().encodeInto(name, request.subarray(0, IFREQ.NAME_BYTES - 1));
  return request;
}

function withAddress(name: string, address: Uint8Array): Uint8Array {
  const request = requestOf(name);
  new DataView(request.buffer).setUint16(IFREQ.FAMILY, AF_INET, true);
  request.set(address, IFREQ.ADDRESS);
  return request;
}

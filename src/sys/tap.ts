/** Tap interfaces, Documentation/networking/tuntap.rst. Each function throws SyscallError. */
import { type Address, bind, lastError } from './ffi.ts';
import { close, OpenFlag, open } from './file.ts';
import { Errno, SyscallError } from './syscall-error.ts';

/** Requests of uapi/linux/if_tun.h as `_IOW('T', …)` makes them, but TUNGETIFF, which is `_IOR`. */
export const TunRequest = {
  SETIFF: 0x4004_54ca,
  SETOFFLOAD: 0x4004_54d0,
  GETIFF: 0x8004_54d2,
  SETVNETHDRSZ: 0x4004_54d8,
  SETQUEUE: 0x4004_54d9,
} as const;

/** Flags of an interface, uapi/linux/if_tun.h. */
export const TapFlag = {
  TAP: 0x0002,
  MULTI_QUEUE: 0x0100,
  /** The two are what TUNSETQUEUE takes; TUNGETIFF shows the second. */
  ATTACH_QUEUE: 0x0200,
  DETACH_QUEUE: 0x0400,
  NO_PI: 0x1000,
  VNET_HDR: 0x4000,
} as const;

/** What the reader of a tap can do with large or unfinished packets, uapi/linux/if_tun.h. */
export const TapOffload = { CSUM: 0x01, TSO4: 0x02, TSO6: 0x04, TSO_ECN: 0x08, UFO: 0x10 } as const;

/** A tap that is attached to no interface, or to one that was deleted: EBADFD, for which Node has no name. */
export const DETACHED_ERRNO = 77;

/** `struct ifreq`, uapi/linux/if.h: the name with its NUL, then a union. */
const IFREQ = { NAME_BYTES: 16, FLAGS: 16, SIZE_BYTES: 40 } as const;

const c = {
  ioctl: bind<(fd: number, request: number, argument: Uint8Array) => number>(
    'int ioctl(int fd, unsigned long request, void *argument)',
  ),
  ioctlValue: bind<(fd: number, request: number, argument: Address) => number>(
    'int ioctl(int fd, unsigned long request, long argument)',
  ),
  ifNameToIndex: bind<(name: string) => number>('unsigned int if_nametoindex(const char *name)'),
};

/** Whether this network namespace has an interface of that name. */
export function interfaceExists(name: string): boolean {
  return c.ifNameToIndex(name) !== 0;
}

/** A descriptor, which does not block, and the name of its interface. */
export interface OpenedTap {
  readonly fd: number;
  readonly name: string;
}

/**
 * Attaches to the tap of that name, which is made where there is none and the caller may, and is gone with its last descriptor then. The
 * kernel puts a number for `%d`.
 */
export function openTap(name: string, flags: number): OpenedTap {
  const encoded = new TextEncoder().encode(name);
  if (encoded.length >= IFREQ.NAME_BYTES) throw new SyscallError('ioctl TUNSETIFF', Errno.EINVAL, { path: name });
  const fd = open('/dev/net/tun', OpenFlag.RDWR | OpenFlag.NONBLOCK);
  const request = new Uint8Array(IFREQ.SIZE_BYTES);
  request.set(encoded);
  new DataView(request.buffer).setUint16(IFREQ.FLAGS, flags, true);
  if (c.ioctl(fd, TunRequest.SETIFF, request) >= 0) return { fd, name: nameIn(request) };
  const error = lastError('ioctl TUNSETIFF', { path: name });
  close(fd);
  throw error;
}

function nameIn(request: Uint8Array): string {
  const name = request.subarray(0, IFREQ.NAME_BYTES);
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

/** Of TapFlag. ENOTTY: no tap; DETACHED_ERRNO. */
export function tapFlags(fd: number): number {
  const request = new Uint8Array(IFREQ.SIZE_BYTES);
  if (c.ioctl(fd, TunRequest.GETIFF, request) < 0) throw lastError('ioctl TUNGETIFF', { fd });
  return new DataView(request.buffer).getUint16(IFREQ.FLAGS, true);
}

/** The size of the virtio header before each frame. */
export function setTapHeaderSize(fd: number, sizeBytes: number): void {
  const value = new Uint8Array(Int32Array.of(sizeBytes).buffer);
  if (c.ioctl(fd, TunRequest.SETVNETHDRSZ, value) < 0) throw lastError('ioctl TUNSETVNETHDRSZ', { fd });
}

/** Of TapOffload: what packets that are read may need. Needs no privilege. */
export function setTapOffloads(fd: number, offloads: number): void {
  if (c.ioctlValue(fd, TunRequest.SETOFFLOAD, offloads) < 0) throw lastError('ioctl TUNSETOFFLOAD', { fd });
}

/**
 * Whether one queue of an interface of IFF_MULTI_QUEUE takes part: the kernel gives it packets, and takes some from it. Needs no
 * privilege. EINVAL: it does already, or does not.
 */
export function attachTapQueue(fd: number, isAttached: boolean): void {
  const request = new Uint8Array(IFREQ.SIZE_BYTES);
  const flag = isAttached ? TapFlag.ATTACH_QUEUE : TapFlag.DETACH_QUEUE;
  new DataView(request.buffer).setUint16(IFREQ.FLAGS, flag, true);
  if (c.ioctl(fd, TunRequest.SETQUEUE, request) < 0) throw lastError('ioctl TUNSETQUEUE', { fd });
}

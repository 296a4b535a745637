/** ioctl(2): requests made as asm-generic/ioctl.h makes them, and the call itself. */
import { type Address, bind, lastError } from './ffi.ts';

const DIRECTION = { NONE: 0, WRITE: 1, READ: 2 } as const;
const SHIFT = { TYPE: 8, SIZE: 16, DIRECTION: 30 } as const;

/** What a request's argument points at. */
interface Sized {
  readonly size: number;
}

/** A request of this type and number: `_IO`, `_IOR`, `_IOW` and `_IOWR`. */
export const ioctlRequest = {
  io: (type: number, number: number): number => encode(DIRECTION.NONE, type, number, 0),
  ior: (type: number, number: number, { size }: Sized): number => encode(DIRECTION.READ, type, number, size),
  iow: (type: number, number: number, { size }: Sized): number => encode(DIRECTION.WRITE, type, number, size),
  iowr: (type: number, number: number, { size }: Sized): number =>
    encode(DIRECTION.READ | DIRECTION.WRITE, type, number, size),
} as const;

function encode(direction: number, type: number, number: number, size: number): number {
  return ((direction << SHIFT.DIRECTION) | (size << SHIFT.SIZE) | (type << SHIFT.TYPE) | number) >>> 0;
}

const c = {
  bytes: bind<(fd: number, request: number, argument: Uint8Array) => number>(
    'int ioctl(int fd, unsigned long request, void *argument)',
  ),
  value: bind<(fd: number, request: number, argument: Address) => number>(
    'int ioctl(int fd, unsigned long request, uint64_t argument)',
  ),
};

/** A request and its name, for messages. */
export interface Ioctl {
  readonly name: string;
  readonly request: number;
}

/** With a structure as argument, which the kernel reads and may write. Returns what the call does. Throws SyscallError. */
export function ioctl(fd: number, { name, request }: Ioctl, argument: Uint8Array): number {
  const result = c.bytes(fd, request, argument);
  if (result < 0) throw lastError(`ioctl ${name}`, { fd });
  return result;
}

/** With a number as argument. Returns what the call does. Throws SyscallError. */
export function ioctlValue(fd: number, { name, request }: Ioctl, argument: Address = 0): number {
  const result = c.value(fd, request, argument);
  if (result < 0) throw lastError(`ioctl ${name}`, { fd });
  return result;
}

/** As `ioctlValue`, for requests that fail in the course of things: returns what the call does, -1 with `errno`. Throws nothing. */
export function tryIoctlValue(fd: number, request: number, argument: Address = 0): number {
  return c.value(fd, request, argument);
}

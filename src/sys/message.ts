/** sendmsg(2) and recvmsg(2) on Unix sockets, with descriptors beside the bytes (SCM_RIGHTS, unix(7)); socket timeouts. */
import { assert } from '#util/assert.ts';
import { alignUp, isSize } from '#util/bits.ts';
import { i32, struct, u32, u64AsNumber, viewOf } from '#util/struct.ts';
import type { HasFd } from './fd.ts';
import { addressOf, bind, errno, lastError } from './ffi.ts';
import { close } from './file.ts';
import { Errno } from './syscall-error.ts';

/** `struct iovec`, uapi/linux/uio.h. */
export const Iovec = struct({ address: u64AsNumber, length: u64AsNumber });

/** `struct msghdr` as the C library has it, sys/socket.h. */
export const Msghdr = struct({
  name: u64AsNumber,
  nameLength: u32,
  iov: u64AsNumber,
  iovCount: u64AsNumber,
  control: u64AsNumber,
  controlLength: u64AsNumber,
  flags: u32,
});

/** `struct cmsghdr`, sys/socket.h. Its data follow at once; the next one begins at a multiple of 8. */
export const Cmsghdr = struct({ length: u64AsNumber, level: i32, type: i32 });

/** `struct timeval`, sys/time.h. */
export const Timeval = struct({ seconds: u64AsNumber, microseconds: u64AsNumber });

/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SocketOption = { RCVTIMEO: 20, SNDTIMEO: 21 } as const;

/** Flags of the calls and of `msg_flags`, linux/socket.h. */
const MSG = { CTRUNC: 0x08, TRUNC: 0x20, DONTWAIT: 0x40, NOSIGNAL: 0x4000, CMSG_CLOEXEC: 0x4000_0000 } as const;

const SCM_RIGHTS = 1;
/** The most descriptors of one message, SCM_MAX_FD of net/scm.h. */
export const MESSAGE_FDS_MAX = 253;

const FD_SIZE_BYTES = 4;
const CONTROL_ALIGNMENT = 8;

const c = {
  sendmsg: bind<(fd: number, header: Uint8Array, flags: number) => number>('int64_t sendmsg(int, void*, int)'),
  recvmsg: bind<(fd: number, header: Uint8Array, flags: number) => number>('int64_t recvmsg(int, void*, int)'),
  setsockopt: bind<(fd: number, level: number, option: number, value: Uint8Array, size: number) => number>(
    'int setsockopt(int, int, int, void*, unsigned int)',
  ),
};

const { fields: header } = Msghdr;
const { fields: control } = Cmsghdr;
/** Lengths in a message's structures are below 2^32: on the way of each message only their low halves are written. */
const IOV_LENGTH_OFFSET = Iovec.fields.length.offset;
const CONTROL_LENGTH_OFFSET = header.controlLength.offset;

/**
 * Room for one message, which sends and receives reuse: bytes, control data and the structures that point to them. The
 * addresses of its parts stand in native memory, so it must be kept for as long as calls use it.
 */
export class MessageBuffer {
  /** The message's bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** The descriptors that the last `receive` opened: the first `fdCount` elements. */
  readonly fds: Int32Array<ArrayBuffer>;
  fdCount = 0;
  /** The last message was longer than `bytes`; the rest is lost. */
  isTruncated = false;
  /** The last message had more descriptors than `fds` holds, or than this process may open; the rest are closed. */
  isControlTruncated = false;

  readonly #header = new Uint8Array(Msghdr.size);
  readonly #headerView = viewOf(this.#header);
  readonly #iovec = new Uint8Array(Iovec.size);
  readonly #iovecView = viewOf(this.#iovec);
  readonly #control: Uint8Array<ArrayBuffer>;
  readonly #controlView: DataView<ArrayBuffer>;
  readonly #controlRoom: number;

  constructor(sizeBytes: number, fdsMax: number) {
    assert(isSize(sizeBytes) && sizeBytes > 0, 'room for a byte at least');
    assert(isSize(fdsMax) && fdsMax <= MESSAGE_FDS_MAX, 'not more descriptors than the kernel passes');
    this.bytes = new Uint8Array(sizeBytes);
    this.view = viewOf(this.bytes);
    this.fds = new Int32Array(fdsMax);
    // CMSG_LEN rather than CMSG_SPACE: in the padding the kernel would put one descriptor more. None: it opens none at all.
    this.#controlRoom = fdsMax === 0 ? 0 : Cmsghdr.size + fdsMax * FD_SIZE_BYTES;
    this.#control = new Uint8Array(alignUp(Cmsghdr.size + fdsMax * FD_SIZE_BYTES, CONTROL_ALIGNMENT));
    this.#controlView = viewOf(this.#control);
    Iovec.fields.address.set(this.#iovecView, 0, addressOf(this.bytes));
    header.iov.set(this.#headerView, 0, addressOf(this.#iovec));
    header.iovCount.set(this.#headerView, 0, 1);
    header.control.set(this.#headerView, 0, addressOf(this.#control));
  }

  /**
   * Sends the first `sizeBytes` bytes and the descriptors, which stay the caller's; the receiver gets its own. A closed peer
   * is EPIPE and no signal. Returns 0, or the negative errno EAGAIN (no room, or the socket's timeout has passed) or EINTR:
   * then nothing was sent. Throws SyscallError.
   */
  send(socket: HasFd, sizeBytes: number, fds: readonly HasFd[], wait: boolean): number {
    assert(sizeBytes <= this.bytes.length && fds.length <= this.fds.length, 'the message is in the buffer');
    const controlLength = this.#putFds(fds);
    this.#iovecView.setUint32(IOV_LENGTH_OFFSET, sizeBytes, true);
    this.#headerView.setUint32(CONTROL_LENGTH_OFFSET, controlLength, true);
    const flags = wait ? MSG.NOSIGNAL : MSG.NOSIGNAL | MSG.DONTWAIT;
    const result = c.sendmsg(socket.fd, this.#header, flags);
    return result < 0 ? againOrInterrupted('sendmsg', socket) : 0;
  }

  /**
   * Receives one message; its descriptors are closed on exec and the caller's to close. Returns its size in bytes, 0 also at
   * the end of the stream; or the negative errno EAGAIN (no message, or the socket's timeout has passed) or EINTR. Throws
   * SyscallError.
   */
  receive(socket: HasFd, wait: boolean): number {
    this.fdCount = 0;
    this.#iovecView.setUint32(IOV_LENGTH_OFFSET, this.bytes.length, true);
    this.#headerView.setUint32(CONTROL_LENGTH_OFFSET, this.#controlRoom, true);
    const flags = wait ? MSG.CMSG_CLOEXEC : MSG.CMSG_CLOEXEC | MSG.DONTWAIT;
    const size = c.recvmsg(socket.fd, this.#header, flags);
    if (size < 0) return againOrInterrupted('recvmsg', socket);
    const reported = header.flags.get(this.#headerView, 0);
    this.isTruncated = (reported & MSG.TRUNC) !== 0;
    this.isControlTruncated = (reported & MSG.CTRUNC) !== 0;
    if (this.#controlRoom > 0) this.#takeFds(header.controlLength.get(this.#headerView, 0));
    return size;
  }

  /** Closes what the last `receive` opened. */
  closeReceived(): void {
    for (let i = 0; i < this.fdCount; i++) close(this.fds[i] as number);
    this.fdCount = 0;
  }

  /** Returns the length of the control data. */
  #putFds(fds: readonly HasFd[]): number {
    if (fds.length === 0) return 0;
    const length = Cmsghdr.size + fds.length * FD_SIZE_BYTES;
    control.length.set(this.#controlView, 0, length);
    control.level.set(this.#controlView, 0, SOL_SOCKET);
    control.type.set(this.#controlView, 0, SCM_RIGHTS);
    for (let i = 0; i < fds.length; i++) {
      this.#controlView.setInt32(Cmsghdr.size + i * FD_SIZE_BYTES, (fds[i] as HasFd).fd, true);
    }
    return length;
  }

  #takeFds(controlLength: number): void {
    for (let at = 0; at + Cmsghdr.size <= controlLength; ) {
      const length = control.length.get(this.#controlView, at);
      if (length < Cmsghdr.size) break;
      const end = Math.min(at + length, controlLength);
      const isRights =
        control.level.get(this.#controlView, at) === SOL_SOCKET &&
        control.type.get(this.#controlView, at) === SCM_RIGHTS;
      for (let data = at + Cmsghdr.size; isRights && data + FD_SIZE_BYTES <= end; data += FD_SIZE_BYTES) {
        this.fds[this.fdCount++] = this.#controlView.getInt32(data, true);
      }
      at += alignUp(length, CONTROL_ALIGNMENT);
    }
  }
}

function againOrInterrupted(syscall: string, socket: HasFd): number {
  const code = errno();
  if (code === Errno.EAGAIN || code === Errno.EINTR) return -code;
  throw lastError(syscall, { fd: socket.fd });
}

/** How long a blocking receive or send waits, in whole milliseconds; undefined: without end. It holds for the open socket. */
export function setSocketTimeout(fd: number, direction: 'receive' | 'send', timeoutMs: number | undefined): void {
  assert(timeoutMs === undefined || (isSize(timeoutMs) && timeoutMs > 0), 'a timeout is a whole number of ms from 1');
  const ms = timeoutMs ?? 0;
  const value = Timeval.encode({ seconds: Math.floor(ms / 1000), microseconds: (ms % 1000) * 1000 });
  const option = direction === 'receive' ? SocketOption.RCVTIMEO : SocketOption.SNDTIMEO;
  if (c.setsockopt(fd, SOL_SOCKET, option, value, value.length) < 0) throw lastError('setsockopt', { fd });
}

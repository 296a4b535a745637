/** What the main process and its warden say to each other: JSON and descriptors on a seqpacket socket. The one place to change for another form. */
import { MESSAGE_FDS_MAX, MessageBuffer } from '#sys/message.ts';
import type { ChildStatus } from '#sys/process.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { KiB } from '#util/bits.ts';
import { CodedError } from '#util/errors.ts';
import type { JailConfig } from './jail-config.ts';
import type { JailRefusal } from './jail-error.ts';

export class WardenError extends CodedError<'WARDEN_DIED' | 'WARDEN_STUCK' | 'FORK_REFUSED' | 'MESSAGE_TOO_LONG'> {
  override readonly name = 'WardenError';
}

/** Main to warden. The descriptors of the message are the device's end of its socket to main, then the device's own. */
export interface ForkRequest {
  readonly kind: 'fork';
  /** Chosen by main; what the warden says of this device carries it. */
  readonly id: number;
  /** Names what the warden's entry module can make. */
  readonly device: string;
  /** The thread's name, which messages about the device use too. */
  readonly name: string;
  readonly jail: JailConfig;
  /** Whether the device has the guest memory's descriptor. */
  readonly usesGuestMemory: boolean;
  /** What the device's constructor gets besides: data that JSON can say. */
  readonly parameters: unknown;
}

/** Main to warden: the descriptor of the message is the guest memory's. */
export interface GuestMemoryMessage {
  readonly kind: 'guestMemory';
}

export type WardenRequest = ForkRequest | GuestMemoryMessage;

/** Warden to main. 'forked' has a descriptor: the device's pidfd. */
export type WardenReply =
  | { readonly kind: 'forked'; readonly id: number; readonly pid: number }
  | { readonly kind: 'refused'; readonly id: number; readonly message: string }
  | { readonly kind: 'ready'; readonly id: number }
  | { readonly kind: 'notJailed'; readonly id: number; readonly refusal: JailRefusal }
  /** A device's filter denied a call, of this number; each number is told once. */
  | { readonly kind: 'denied'; readonly id: number; readonly call: number }
  | { readonly kind: 'ended'; readonly id: number; readonly status: ChildStatus };

export interface Received<Message> {
  readonly message: Message;
  /** The receiver's, to be closed. */
  readonly fds: number[];
}

/** The longest message: a seccomp program of 4096 instructions in base64 is 43 KiB. */
const MESSAGE_MAX_BYTES = 64 * KiB;

/** For one message at a time, of either direction: nothing here waits while it holds one. */
const buffer = new MessageBuffer(MESSAGE_MAX_BYTES, MESSAGE_FDS_MAX);

/** A seccomp program is bytes. `this` has the value before a Buffer has turned itself into an object. */
const BYTES_KEY = '$base64';
function toJson(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  const original = this[key];
  return original instanceof Uint8Array ? { [BYTES_KEY]: Buffer.from(original).toString('base64') } : value;
}
function fromJson(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !(BYTES_KEY in value)) return value;
  return new Uint8Array(Buffer.from(String(value[BYTES_KEY]), 'base64'));
}

function isPeerGone(error: unknown): boolean {
  return error instanceof SyscallError && (error.errno === Errno.EPIPE || error.errno === Errno.ECONNRESET);
}

/**
 * Sends; the descriptors stay open here. Returns false when the other has ended. Throws WardenError when the message is too long,
 * and SyscallError.
 */
export function sendMessage(fd: number, message: WardenRequest | WardenReply, fds: readonly number[] = []): boolean {
  const body = Buffer.from(JSON.stringify(message, toJson));
  if (body.length > MESSAGE_MAX_BYTES) {
    throw new WardenError(
      'MESSAGE_TOO_LONG',
      `a message of ${body.length} bytes; at most ${MESSAGE_MAX_BYTES} are taken`,
    );
  }
  buffer.bytes.set(body);
  const sent = fds.map((number) => ({ fd: number }));
  try {
    while (buffer.send({ fd }, body.length, sent, true) === -Errno.EINTR);
    return true;
  } catch (error) {
    if (isPeerGone(error)) return false;
    throw error;
  }
}

/** The next message; waits for it. Undefined when the other has ended. Throws WardenError (too long for us) and SyscallError. */
export function receiveMessage<Message>(fd: number): Received<Message> | undefined {
  let sizeBytes: number;
  try {
    do sizeBytes = buffer.receive({ fd }, true);
    while (sizeBytes === -Errno.EINTR);
  } catch (error) {
    // It ended without having read all.
    if (isPeerGone(error)) return undefined;
    throw error;
  }
  if (sizeBytes === 0) return undefined;
  if (buffer.isTruncated || buffer.isControlTruncated) {
    buffer.closeReceived();
    throw new WardenError('MESSAGE_TOO_LONG', 'a message did not fit, or its descriptors into this process');
  }
  const text = Buffer.from(buffer.bytes.buffer, 0, sizeBytes).toString();
  return { message: JSON.parse(text, fromJson) as Message, fds: [...buffer.fds.subarray(0, buffer.fdCount)] };
}

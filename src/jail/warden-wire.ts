/** What the main process and its warden say to each other: declared messages with their descriptors on a seqpacket socket. */
import { arrayUpTo, converted, struct, union } from '#msg-socket/composites.ts';
import type { MessageType, ValueOf } from '#msg-socket/message-type.ts';
import { bool, bytesUpTo, descriptor, fitText, oneOf, textUpTo, u32 } from '#msg-socket/scalars.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { MESSAGE_FDS_MAX } from '#sys/message.ts';
import type { ChildStatus } from '#sys/process.ts';
import { KiB } from '#util/bits.ts';
import { CodedError } from '#util/errors.ts';
import { JAIL_STEPS } from './jail-error.ts';
import { JailMessage } from './jail-message.ts';

export class WardenError extends CodedError<'WARDEN_DIED' | 'WARDEN_STUCK' | 'FORK_REFUSED'> {
  override readonly name = 'WardenError';
}

/** Names of devices and of their kinds, in UTF-8. */
const NAME_BYTES_MAX = 64;
/** What a device's maker gets, as the kind's own declaration has it; this layer passes it on. */
export const PARAMETERS_BYTES_MAX = 8 * KiB;
/** Beside the device's socket. */
export const DEVICE_FDS_MAX = MESSAGE_FDS_MAX - 1;
/** Why something failed, for the user: what is longer is cut. */
const REASON_BYTES_MAX = 1000;

const reason = converted(textUpTo(REASON_BYTES_MAX), {
  toWire: (text: string) => fitText(text, REASON_BYTES_MAX),
  fromWire: (text) => text,
});

/** A call's number as the kernel tells it, an int. */
const callNumber = converted(u32, { toWire: (call: number) => call >>> 0, fromWire: (word) => word | 0 });

const childStatus = converted(union({ exited: struct({ exitCode: u32 }), killed: struct({ signal: u32 }) }), {
  toWire: (status: ChildStatus) =>
    'signal' in status ? { kind: 'killed' as const, ...status } : { kind: 'exited' as const, ...status },
  fromWire: (wire): ChildStatus => (wire.kind === 'killed' ? { signal: wire.signal } : { exitCode: wire.exitCode }),
});

const forkFields = {
  /** Chosen by main; what the warden says of this device carries it. */
  id: u32,
  /** Names what the warden's entry module can make. */
  device: textUpTo(NAME_BYTES_MAX),
  /** The thread's name, which messages about the device use too. */
  name: textUpTo(NAME_BYTES_MAX),
  jail: JailMessage,
  /** Whether the device has the guest memory's descriptor. */
  usesGuestMemory: bool,
  /** What the device's maker gets besides: of the type that its kind declares, `encodeBytes`. */
  parameters: bytesUpTo(PARAMETERS_BYTES_MAX),
  /** The device's end of its socket to main. */
  socket: descriptor,
  /** The device's own. */
  fds: arrayUpTo(descriptor, DEVICE_FDS_MAX),
};

/** Main to warden. */
export const WardenRequest = union({ fork: struct(forkFields), guestMemory: struct({ memfd: descriptor }) });
export type WardenRequest = ValueOf<typeof WardenRequest>;
export type ForkRequest = Extract<WardenRequest, { kind: 'fork' }>;

/** Warden to main. */
export const WardenReply = union({
  forked: struct({ id: u32, pid: u32, pidfd: descriptor }),
  refused: struct({ id: u32, message: reason }),
  ready: struct({ id: u32 }),
  notJailed: struct({ id: u32, refusal: struct({ step: oneOf(JAIL_STEPS), errno: u32, message: reason }) }),
  /** A device's filter denied a call, of this number; each number is told once. */
  denied: struct({ id: u32, call: callNumber }),
  ended: struct({ id: u32, status: childStatus }),
});
export type WardenReply = ValueOf<typeof WardenReply>;

/** The two directions, as main sees them. */
export const WARDEN_TYPES: { readonly send: MessageType<WardenRequest>; readonly recv: MessageType<WardenReply> } = {
  send: WardenRequest,
  recv: WardenReply,
};

/** Second descriptors of the same files, to be sent: those that are given stay their owner's. Throws SyscallError, and has none open then. */
export function duplicates(fds: readonly number[]): Fd[] {
  using opened = new DisposableStack();
  const copies = fds.map((fd) => opened.use(new Fd(dup(fd))));
  opened.move();
  return copies;
}

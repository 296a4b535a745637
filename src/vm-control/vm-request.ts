/** What the public control socket carries, docs/control-socket.md: one request, one response, in turns. */

import { struct, union } from '#msg-socket/composites.ts';
import { define, type MessageType, type ValueOf } from '#msg-socket/message-type.ts';
import { textUpTo, u8, u16, u32, u64AsNumber, unit } from '#msg-socket/scalars.ts';
import { CodedError } from '#util/errors.ts';
import { BalloonState } from './balloon-control.ts';

/** Requests keep their numbers and fields within a version; new requests may be added. */
export const CONTROL_VERSION = 1;

/** The first four bytes of a message in the order of the wire: the same in every version. */
const MAGIC = { REQUEST: magic('CVMQ'), RESPONSE: magic('CVMA') } as const;

export type VmControlErrorCode =
  /** The first request is to be `hello`. */
  | 'HELLO_FIRST'
  /** The VM does not speak this version. */
  | 'UNKNOWN_VERSION'
  | 'UNKNOWN_REQUEST'
  /** Bytes that are no message of the protocol. */
  | 'BAD_REQUEST'
  /** Only the user that runs the VM may ask. */
  | 'NOT_OWNER'
  | 'TOO_MANY_CLIENTS'
  /** What was asked cannot be done in the VM's present state. */
  | 'WRONG_STATE'
  /** The VM has no such device. */
  | 'NO_DEVICE'
  /** The disk is only read. */
  | 'READ_ONLY'
  /** What was asked for is no size that it can have. */
  | 'BAD_SIZE'
  /** The host or the image has no room, or something else went wrong there. */
  | 'DISK_FAILED'
  /** The VM could not do it in time; it goes on as before. */
  | 'TOO_LATE';

/** Why the VM refuses a request. The names are stable. */
export class VmControlError extends CodedError<VmControlErrorCode> {
  override readonly name = 'VmControlError';
}

/** In the order of their numbers on the wire. */
const REQUESTS = {
  hello: struct({ version: u16 }),
  status: unit,
  stop: unit,
  powerButton: unit,
  suspend: unit,
  resume: unit,
  balloon: struct({ sizeBytes: u64AsNumber }),
  balloonStats: unit,
  diskResize: struct({ index: u32, sizeBytes: u64AsNumber }),
} as const;

const requestTypes: readonly { readonly kind: string; readonly type: MessageType<unknown> }[] = Object.entries(
  REQUESTS,
).map(([kind, type]) => ({ kind, type: type as MessageType<unknown> }));

const anyRequest = union(REQUESTS);
export type VmRequest = ValueOf<typeof anyRequest>;

/** A request. Reading throws VmControlError UNKNOWN_REQUEST for one of a later revision. */
export const VmRequest: MessageType<VmRequest> = define<VmRequest>({
  ...anyRequest,
  signature: MAGIC.REQUEST,
  read(input) {
    const tag = u8.read(input);
    const found = requestTypes[tag];
    if (found === undefined) throw new VmControlError('UNKNOWN_REQUEST', `there is no request ${tag}`);
    return { ...(found.type.read(input) as object | undefined), kind: found.kind } as VmRequest;
  },
});

/** What a VM tells of itself. Times in milliseconds, memory in MiB. */
const VmStatus = struct({
  state: textUpTo(16),
  pid: u32,
  version: textUpTo(32),
  hypervisor: textUpTo(16),
  cpus: u32,
  memoryMib: u32,
  /** Since the VM was made. */
  uptimeMs: u64AsNumber,
});
export type VmStatus = ValueOf<typeof VmStatus>;

/** In bytes of UTF-8. */
export const ERROR_TEXT_MAX_BYTES = { code: 32, message: 256 } as const;

const anyResponse = union({
  hello: struct({ version: u16 }),
  status: VmStatus,
  done: unit,
  error: struct({ code: textUpTo(ERROR_TEXT_MAX_BYTES.code), message: textUpTo(ERROR_TEXT_MAX_BYTES.message) }),
  balloonStats: BalloonState,
});
export type VmResponse = ValueOf<typeof anyResponse>;
export const VmResponse: MessageType<VmResponse> = define<VmResponse>({ ...anyResponse, signature: MAGIC.RESPONSE });

function magic(text: string): number {
  return Buffer.from(text, 'latin1').readUInt32LE();
}

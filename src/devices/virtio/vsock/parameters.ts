import { struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { u64AsNumber } from '#msg-socket/scalars.ts';

/** What main says of the socket device. Its descriptors: the listening socket, and the end of VsockConnect that asks. */
export const VsockParameters = struct({ cid: u64AsNumber });
export type VsockParameters = ValueOf<typeof VsockParameters>;

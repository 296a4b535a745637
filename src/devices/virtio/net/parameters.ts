import { struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { fixedBytes, oneOf } from '#msg-socket/scalars.ts';
import { MAC_BYTES } from './constants.ts';

/** What main says of a network interface; its descriptors are the queues of its tap, or the one socket. */
export const NetParameters = struct({ backend: oneOf(['tap', 'stream']), mac: fixedBytes(MAC_BYTES) });
export type NetParameters = ValueOf<typeof NetParameters>;

import { struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { u64AsNumber } from '#msg-socket/scalars.ts';

/** What main says of the balloon; its one descriptor is the end of BalloonControl that answers. */
export const BalloonParameters = struct({ ramSizeBytes: u64AsNumber });
export type BalloonParameters = ValueOf<typeof BalloonParameters>;

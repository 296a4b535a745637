import { struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { u64AsNumber } from '#msg-socket/scalars.ts';

/** What main says of persistent memory; its one descriptor is the file, and it has none where the guest cannot write. */
export const PmemParameters = struct({ start: u64AsNumber, sizeBytes: u64AsNumber });
export type PmemParameters = ValueOf<typeof PmemParameters>;

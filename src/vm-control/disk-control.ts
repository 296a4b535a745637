/** What main asks of a disk's process. */
import { struct } from '#msg-socket/composites.ts';
import { protocol, request } from '#msg-socket/protocol.ts';
import { u64AsNumber, unit } from '#msg-socket/scalars.ts';

export const DiskControl = protocol({
  /** The disk gets this length, which is no smaller than its own; answered when the guest has been told. Refused with DiskErrorCode. */
  resize: request(struct({ sizeBytes: u64AsNumber }), unit),
});

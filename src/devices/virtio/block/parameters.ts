import { CHAIN_MAX } from '#disk/image-chain.ts';
import { BACKING_FORMATS } from '#disk/qcow2/header.ts';
import { arrayUpTo, struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { bool, oneOf, textUpTo, u16, u32 } from '#msg-socket/scalars.ts';
import { ID_BYTES } from './constants.ts';

/** What main says of a disk; its descriptors are the image, what lies below it, and the end of DiskControl that answers. */
export const BlockParameters = struct({
  /** One for each image. */
  formats: arrayUpTo(oneOf(BACKING_FORMATS), CHAIN_MAX),
  readOnly: bool,
  sparse: bool,
  blockSizeBytes: u32,
  id: textUpTo(ID_BYTES),
  queueCount: u16,
});
export type BlockParameters = ValueOf<typeof BlockParameters>;

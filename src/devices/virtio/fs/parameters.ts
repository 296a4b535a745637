import { struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { bool, oneOf, textUpTo, u32 } from '#msg-socket/scalars.ts';
import { TAG_BYTES } from './constants.ts';
import { CACHE_POLICIES } from './context.ts';

/** What main says of a shared directory. Its one descriptor is the directory where there is no jail, whose root it would be. */
export const FsParameters = struct({
  tag: textUpTo(TAG_BYTES),
  readOnly: bool,
  cache: oneOf(CACHE_POLICIES),
  timeoutSeconds: u32,
  writeback: bool,
  givesAway: bool,
});
export type FsParameters = ValueOf<typeof FsParameters>;

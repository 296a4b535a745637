import { optional, struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { oneOf, u16, u32 } from '#msg-socket/scalars.ts';
import { INPUT_KINDS } from './input-table.ts';

/** What main says of an input device; its connection is the one descriptor. */
export const InputParameters = struct({
  kind: oneOf(INPUT_KINDS),
  /** Among the input devices of the machine. */
  index: u16,
  /** Of the kinds with a surface. */
  size: optional(struct({ width: u32, height: u32 })),
});
export type InputParameters = ValueOf<typeof InputParameters>;

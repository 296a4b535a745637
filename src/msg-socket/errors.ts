import { CodedError } from '#util/errors.ts';

/** Why a message cannot be received or sent. The names are stable. */
export type MsgErrorCode =
  /** The bytes end before the value does. */
  | 'TOO_SHORT'
  /** Longer than the type's maximum, or with bytes after its value. */
  | 'TOO_LONG'
  /** Of another declaration than the receiver's, or the answer to another request. */
  | 'WRONG_KIND'
  /** A field holds what its type does not allow. */
  | 'BAD_VALUE'
  /** More or fewer descriptors than the value has, or more than this process may open. */
  | 'WRONG_DESCRIPTORS'
  /** The socket's timeout passed. */
  | 'TIMED_OUT'
  /** There is no room for a message that must not wait: the peer does not read. */
  | 'NO_ROOM'
  /** The peer closed its end. */
  | 'DISCONNECTED';

/**
 * A message that did not pass. A received one is gone, with its descriptors closed; the next can be received. After
 * DISCONNECTED there is none.
 */
export class MsgError extends CodedError<MsgErrorCode> {
  override readonly name = 'MsgError';
}

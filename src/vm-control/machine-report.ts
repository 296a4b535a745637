/** What the process of a legacy device tells main of the machine as a whole. Neither waits for the other. */
import { posted, protocol } from '#msg-socket/protocol.ts';
import { unit } from '#msg-socket/scalars.ts';

export const MachineReport = protocol({
  /** The guest has asked for a reset. Once at most. */
  reset: posted(unit),
});

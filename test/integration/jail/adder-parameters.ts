import { struct } from '#msg-socket/composites.ts';
import { u8 } from '#msg-socket/scalars.ts';

/** What the adder of the tests' warden adds. */
export const AdderParameters = struct({ add: u8 });

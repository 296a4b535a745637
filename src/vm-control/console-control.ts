/** What main and the console's process say to each other. Neither waits for the other. */
import { struct } from '#msg-socket/composites.ts';
import { posted, protocol } from '#msg-socket/protocol.ts';
import { u16, unit } from '#msg-socket/scalars.ts';

/** What main asks of the console's process. */
export const ConsoleControl = protocol({
  /** The terminal has another size, in characters. */
  resize: posted(struct({ columns: u16, rows: u16 })),
});

/** What the console's process tells main. */
export const ConsoleReport = protocol({
  /** The guest's kernel has said on its console that it panics. Once at most. */
  panicked: posted(unit),
});

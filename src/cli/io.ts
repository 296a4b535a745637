import { writeSync } from 'node:fs';

/** Where a command writes. */
export interface CliIo {
  /** Text for standard output, line ends included. Throws when it cannot be written. */
  out(text: string): void;
  /** Text for standard error, line ends included. Never throws: there is no place left to say it. */
  err(text: string): void;
}

/** This process's own streams. The writes are synchronous: the main loop of a running machine never gives way to Node's. */
export const hostIo: CliIo = {
  out: (text) => writeAll(1, text),
  err: (text) => {
    try {
      writeAll(2, text);
    } catch {
      // A closed pipe, a terminal that hung up, a full disk: the exit status still tells.
    }
  },
};

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  let written = 0;
  while (written < bytes.length) written += writeSync(fd, bytes, written);
}

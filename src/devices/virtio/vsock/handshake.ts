import type { Fd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { PORT_ANY } from './constants.ts';

/** `CONNECT 4294967294\n` and a carriage return; a longer line is none of ours. */
const LINE_BYTES_MAX = 20;
const LINE = /^CONNECT (0|[1-9][0-9]{0,9})\r?$/;
const NEWLINE = 0x0a;

/** A peer of the host that has connected and is about to say which port of the guest it wants: `CONNECT port\n`. */
export class Handshake {
  readonly socket: Fd;
  readonly #byte = new Uint8Array(1);
  #line = '';

  /** Takes over a non-blocking socket until `read` returns a port. */
  constructor(socket: Fd) {
    this.socket = socket;
  }

  /**
   * Reads what is there: the port, 'more' while the line is not complete, 'refused' for another line or none. It goes byte by
   * byte, since what follows the line is the stream's.
   */
  read(): number | 'more' | 'refused' {
    try {
      while (this.#line.length <= LINE_BYTES_MAX) {
        const count = tryRead(this.socket.fd, this.#byte);
        if (count === undefined) return 'more';
        if (count === 0) return 'refused';
        if (this.#byte[0] === NEWLINE) return portOf(this.#line);
        this.#line += String.fromCharCode(this.#byte[0]!);
      }
    } catch (error) {
      // A peer that is gone.
      if (!(error instanceof SyscallError)) throw error;
    }
    return 'refused';
  }
}

function portOf(line: string): number | 'refused' {
  const port = Number(LINE.exec(line)?.[1] ?? PORT_ANY);
  return port < PORT_ANY ? port : 'refused';
}

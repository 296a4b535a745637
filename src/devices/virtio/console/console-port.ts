import type { HasFd } from '#sys/fd.ts';

/** What is typed. Its descriptor can be polled (no regular file) and does not block. */
export interface ConsoleInput extends HasFd {
  /** The next bytes: their count, 0 at the end, undefined when there are none now. Never throws. */
  read(target: Uint8Array): number | undefined;
}

/** Where the output goes. */
export interface ConsoleOutput {
  /** To be waited for where a write has not taken all; absent where that does not happen. */
  readonly source?: HasFd;
  /** Nobody is there any more: what is written is dropped. */
  readonly isClosed: boolean;
  /** Takes as many bytes as there is room for, without waiting, and returns how many. Never throws. */
  write(bytes: Uint8Array): number;
  /** Looks whether somebody is there still. */
  checkPeer(): void;
}

/** A terminal's size in characters. */
export interface ConsoleSize {
  readonly columns: number;
  readonly rows: number;
}

/** A port as the host has it; it outlives the driver. */
export interface ConsolePort {
  /** What programs in the guest find it by. */
  readonly name?: string | undefined;
  /** For text, as a console: `hvc` in Linux. */
  readonly isConsole: boolean;
  readonly input?: ConsoleInput | undefined;
  readonly output: ConsoleOutput;
  /** It is a terminal, whose size the driver is told. */
  readonly isTerminal: boolean;
}

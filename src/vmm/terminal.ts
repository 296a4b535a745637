import type { Guardian } from './terminal-guardian.ts';
import { rawSettings } from './termios.ts';

/** In characters; 0 where the terminal knows no size. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** What this module needs from the host; the settings are the bytes of a `struct termios`. */
export interface TerminalCalls {
  isTerminal(fd: number): boolean;
  readSettings(fd: number): Uint8Array;
  /** Takes effect at once; output that is under way is not waited for. */
  writeSettings(fd: number, settings: Uint8Array): void;
  readSize(fd: number): TerminalSize;
  /** Starts the process that restores the terminal should this one die. Throws when there is none to be had. */
  startGuardian(fd: number): Guardian;
  /** Stops this process until it is continued, as SIGSTOP does. */
  stopSelf(): void;
  /** A line for the user. */
  warn(message: string): void;
}

/**
 * The user's terminal. `enterRaw` gives every key to the guest; `restore` gives the terminal back as it was found. From
 * the first `prepare` or `enterRaw` on a guardian process watches: whatever ends this process, SIGKILL included, it restores the terminal.
 *
 * Job control: on SIGTSTP call `stop`, on SIGCONT `enterRaw` again, since a shell sets the terminal for itself in between.
 */
export class Terminal {
  readonly fd: number;
  readonly #calls: TerminalCalls;
  readonly #saved: Uint8Array;
  #guardian: Guardian | undefined;
  #guardianTried = false;
  #raw = false;

  private constructor(fd: number, calls: TerminalCalls) {
    this.fd = fd;
    this.#calls = calls;
    this.#saved = calls.readSettings(fd);
  }

  /** Remembers the present settings. Undefined when `fd` is not a terminal. The descriptor stays the caller's. */
  static open(fd: number, calls: TerminalCalls): Terminal | undefined {
    return calls.isTerminal(fd) ? new Terminal(fd, calls) : undefined;
  }

  /** Whether line ends written to this terminal need a carriage return. */
  get raw(): boolean {
    return this.#raw;
  }

  /** Its size now; undefined once it has hung up. */
  size(): TerminalSize | undefined {
    try {
      return this.#calls.readSize(this.fd);
    } catch (error) {
      if (isHangup(error)) return undefined;
      throw error;
    }
  }

  /** Starts the guardian, for who can start no process later. May be repeated. */
  prepare(): void {
    if (!this.#guardianTried) this.#startGuardian();
  }

  /** May be repeated. */
  enterRaw(): void {
    this.prepare();
    this.#raw = true;
    this.#calls.writeSettings(this.fd, rawSettings(this.#saved));
  }

  /** Writes the settings that were found at the start. Does nothing when they are in force. */
  restore(): void {
    if (!this.#raw) return;
    this.#raw = false;
    try {
      this.#calls.writeSettings(this.fd, this.#saved);
    } catch (error) {
      // It has no settings left to restore.
      if (!isHangup(error)) throw error;
    }
  }

  /** Gives the terminal back and stops this process until SIGCONT, as a program does that is suspended from outside. */
  stop(): void {
    this.restore();
    this.#calls.stopSelf();
  }

  /** Restores the terminal and dismisses the guardian. */
  close(): void {
    try {
      this.restore();
    } finally {
      this.#guardian?.dismiss();
      this.#guardian = undefined;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #startGuardian(): void {
    this.#guardianTried = true;
    try {
      this.#guardian = this.#calls.startGuardian(this.fd);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#calls.warn(`the terminal stays raw if this process is killed ('stty sane' helps then): ${reason}`);
    }
  }
}

/** What every call says of a terminal that hung up, tty_ioctl(4). */
function isHangup(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EIO';
}

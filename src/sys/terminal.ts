/** Terminals: line settings. All throw SyscallError (ENOTTY when the descriptor is not a terminal). */
import { array, bytes, struct, u8, u32 } from '#util/struct.ts';
import { bind, errno, lastError } from './ffi.ts';
import { Errno } from './syscall-error.ts';

/** `struct termios` of the C library, bits/termios-struct.h. */
export const Termios = struct({
  iflag: u32,
  oflag: u32,
  cflag: u32,
  lflag: u32,
  line: u8,
  cc: bytes(32),
  speeds: array(u32, 2),
});

/** When tcsetattr takes effect, asm-generic/termbits.h. */
export const When = { NOW: 0, AFTER_OUTPUT: 1, AFTER_OUTPUT_DROP_INPUT: 2 } as const;

const c = {
  tcgetattr: bind<(fd: number, termios: Uint8Array) => number>('int tcgetattr(int, void*)'),
  tcsetattr: bind<(fd: number, when: number, termios: Uint8Array) => number>('int tcsetattr(int, int, void*)'),
  isatty: bind<(fd: number) => number>('int isatty(int)'),
};

/** True when `fd` is a terminal. */
export function isTerminal(fd: number): boolean {
  return c.isatty(fd) === 1;
}

/** The settings, an encoded Termios. */
export function getTermios(fd: number): Uint8Array {
  const termios = new Uint8Array(Termios.size);
  if (c.tcgetattr(fd, termios) < 0) throw lastError('tcgetattr', { fd });
  return termios;
}

/** Applies settings; retried on EINTR. */
export function setTermios(fd: number, termios: Uint8Array, when: number = When.AFTER_OUTPUT): void {
  while (c.tcsetattr(fd, when, termios) < 0) if (errno() !== Errno.EINTR) throw lastError('tcsetattr', { fd });
}

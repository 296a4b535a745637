/** Terminals: line settings, size. All throw SyscallError (ENOTTY when the descriptor is not a terminal). */
import { array, bytes, struct, u8, u16, u32, viewOf } from '#util/struct.ts';
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

/** `struct winsize`, asm-generic/termios.h; sizes in characters and in pixels. */
export const WindowSize = struct({ rows: u16, columns: u16, xPixels: u16, yPixels: u16 });

/** asm-generic/ioctls.h */
const TIOCGWINSZ = 0x5413;

/** When tcsetattr takes effect, asm-generic/termbits.h. */
export const When = { NOW: 0, AFTER_OUTPUT: 1, AFTER_OUTPUT_DROP_INPUT: 2 } as const;

const c = {
  tcgetattr: bind<(fd: number, termios: Uint8Array) => number>('int tcgetattr(int, void*)'),
  tcsetattr: bind<(fd: number, when: number, termios: Uint8Array) => number>('int tcsetattr(int, int, void*)'),
  ioctl: bind<(fd: number, request: number, argument: Uint8Array) => number>(
    'int ioctl(int fd, unsigned long request, void *argument)',
  ),
  isatty: bind<(fd: number) => number>('int isatty(int)'),
};

/** True when `fd` is a terminal. */
export function isTerminal(fd: number): boolean {
  return c.isatty(fd) === 1;
}

/** The size in characters; 0 where the terminal knows none. */
export function windowSize(fd: number): { readonly columns: number; readonly rows: number } {
  const size = new Uint8Array(WindowSize.size);
  if (c.ioctl(fd, TIOCGWINSZ, size) < 0) throw lastError('ioctl TIOCGWINSZ', { fd });
  const { columns, rows } = WindowSize.decode(viewOf(size));
  return { columns, rows };
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

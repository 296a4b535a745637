/**
 * Terminal settings as the bytes of `struct termios`: four 32-bit flag words, the line discipline, the control characters
 * (termios(3), asm-generic/termbits.h). The kernel's structure and the C library's agree up to here.
 */
const OFFSET = { INPUT: 0, OUTPUT: 4, CONTROL: 8, LOCAL: 12, CONTROL_CHARACTERS: 17 } as const;

/** Shorter bytes cannot hold the members that are changed here. */
const MINIMUM_BYTES = OFFSET.CONTROL_CHARACTERS + 7;

const INPUT = {
  IGNBRK: 0x1,
  BRKINT: 0x2,
  PARMRK: 0x8,
  ISTRIP: 0x20,
  INLCR: 0x40,
  IGNCR: 0x80,
  ICRNL: 0x100,
  IXON: 0x400,
} as const;
const OUTPUT = { OPOST: 0x1 } as const;
const CONTROL = { CSIZE: 0x30, CS8: 0x30, PARENB: 0x100 } as const;
const LOCAL = { ISIG: 0x1, ICANON: 0x2, ECHO: 0x8, ECHONL: 0x40, IEXTEN: 0x8000 } as const;
const CONTROL_CHARACTER = { VTIME: 5, VMIN: 6 } as const;

const sum = (flags: Readonly<Record<string, number>>) => Object.values(flags).reduce((all, flag) => all | flag, 0);

/**
 * The settings with which every key reaches the reader as it is typed and every byte the screen as it is written: those of
 * cfmakeraw(3). `settings` is left as it is. Throws RangeError when it is too short to be a termios.
 */
export function rawSettings(settings: Uint8Array): Uint8Array {
  if (settings.length < MINIMUM_BYTES) throw new RangeError(`${settings.length} bytes are no termios`);
  const raw = Uint8Array.from(settings);
  const view = new DataView(raw.buffer);
  // Host byte order is little endian on every machine this runs on.
  const clear = (offset: number, flags: number, set = 0) =>
    view.setUint32(offset, (view.getUint32(offset, true) & ~flags) | set, true);
  clear(OFFSET.INPUT, sum(INPUT));
  clear(OFFSET.OUTPUT, sum(OUTPUT));
  clear(OFFSET.CONTROL, CONTROL.CSIZE | CONTROL.PARENB, CONTROL.CS8);
  clear(OFFSET.LOCAL, sum(LOCAL));
  raw[OFFSET.CONTROL_CHARACTERS + CONTROL_CHARACTER.VMIN] = 1;
  raw[OFFSET.CONTROL_CHARACTERS + CONTROL_CHARACTER.VTIME] = 0;
  return raw;
}

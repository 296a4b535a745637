import type { GdbConfig } from '#vmm/gdb-config.ts';

const UNIX = 'unix:';

export interface ParsedGdbOption {
  /** Absent when a problem kept it from being made. */
  readonly gdb?: GdbConfig;
  readonly problems: readonly string[];
}

/** The value of `--gdb`: `PORT` or `unix:PATH`. Never throws. */
export function parseGdbOption(text: string): ParsedGdbOption {
  if (text.startsWith(UNIX)) return { gdb: { kind: 'unix', path: text.slice(UNIX.length) }, problems: [] };
  if (/^[0-9]{1,10}$/.test(text)) return { gdb: { kind: 'tcp', port: Number(text) }, problems: [] };
  return { problems: [`is neither the number of a port nor ${UNIX}PATH`] };
}

import type { Mistake } from './config.ts';

/** Where GDB connects to. */
export type GdbConfig =
  /** A port of the loopback interface, 127.0.0.1. */
  { readonly kind: 'tcp'; readonly port: number } | { readonly kind: 'unix'; readonly path: string };

export const GDB_PORT = { min: 1, max: 65535 } as const;

const OPTION = '--gdb';

export function gdbMistakes(gdb: GdbConfig, socketProblem: (path: string) => string | undefined): Mistake[] {
  if (gdb.kind === 'unix') {
    const problem = gdb.path === '' ? 'needs a path' : socketProblem(gdb.path);
    return problem === undefined ? [] : [{ option: OPTION, message: problem }];
  }
  const { min, max } = GDB_PORT;
  if (Number.isInteger(gdb.port) && gdb.port >= min && gdb.port <= max) return [];
  return [{ option: OPTION, message: `port ${gdb.port}: must be ${min} to ${max}` }];
}

/** For people, as GDB's `target remote` takes it. */
export const gdbAddress = (gdb: GdbConfig): string => (gdb.kind === 'unix' ? gdb.path : `localhost:${gdb.port}`);

/** Guests of a few bytes of machine code, as ELF kernels, and `crosvm run` of them. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { buildElf } from '#kernel/testing/images.ts';

const CROSVM = resolve(import.meta.dirname, '../../../src/cli/main.ts');
const LOAD_ADDRESS = 0x100_0000;

/** Pieces of 64-bit code; each goes on at its end. Serial port 1 is at 0x3f8, the power block at 0x600. */
export const code = {
  /** Writes text to serial port 1: call over the text, then lodsb, out dx until the NUL. */
  print: (text: string): string => {
    const bytes = Buffer.from(`${text}\0`, 'latin1');
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return `e8${length.toString('hex')}${bytes.toString('hex')} 5e 66baf803 ac 84c0 7403 ee ebf8`;
  },
  /** mov dx, 0x604; mov ax, SLP_TYP 5 with SLP_EN; out dx, ax. */
  powerOff: '66ba0406 66b80034 66ef',
  /** mov dx, 0xcf9; mov al, 6; out dx, al. */
  resetByResetControl: '66baf90c b006 ee',
  /** mov al, 0xfe; out 0x64, al. */
  resetByKeyboardController: 'b0fe e664',
  /** mov al, value; out 0xf4, al. */
  debugExit: (value: number): string => `b0${value.toString(16).padStart(2, '0')} e6f4`,
  /** ud2: the IDT has no gate, so the fault becomes a triple one. */
  tripleFault: '0f0b',
  /** cli; hlt; jmp back. */
  haltForever: 'fa f4 ebfd',
  /** jmp to itself. */
  spin: 'ebfe',
  /** mov dx, 0x3fa; mov al, 7; out dx, al: the FIFOs of serial port 1. */
  enableFifos: '66bafa03 b007 ee',
  /** Reads serial port 1 by polling and writes each byte back, until it has read a 'q'. */
  echoUntilQ: '66bafd03 ec a801 74f7 66baf803 ec ee 3c71 75ed',
  /** Writes 'x' to serial port 1 for ever. */
  flood: '66baf803 b078 ee ebfd',
  /** The same with so many NOPs in the loop, 0 to 125. */
  slowFlood: (nops: number): string => `66baf803 b078 ee ${'90'.repeat(nops)} eb${(0xfd - nops).toString(16)}`,
  /** Reads the first register of a function 0 on bus 0: out 0xcf8, in 0xcfc. */
  readPciDevice: (device: number): string =>
    `b800${(device * 8).toString(16).padStart(2, '0')}0080 66baf80c ef 66bafc0c ed`,
} as const;

/** An ELF kernel of such code. */
export function tinyKernel(pieces: readonly string[]): Uint8Array {
  const data = Buffer.from(pieces.join('').replaceAll(/\s/g, ''), 'hex');
  return buildElf({ segments: [{ address: LOAD_ADDRESS, data }] });
}

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  readonly errors: string;
}

/** A running `crosvm run` over a guest of such code. The object owns process and files. */
export class TinyGuest implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'crosvm-tiny-'));
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<Ended>;
  #output = '';
  #errors = '';

  /** `program` is a script, with parameters that come before the command line of crosvm. */
  constructor(
    pieces: readonly string[],
    options: readonly string[] = [],
    program: readonly [string, ...string[]] = [CROSVM],
  ) {
    const kernel = join(this.folder, 'kernel');
    writeFileSync(kernel, tinyKernel(pieces));
    const parameters = [...program, 'run', '--mem=32', '--hypervisor=software', ...options, kernel];
    this.child = spawn(process.execPath, parameters, { stdio: ['pipe', 'pipe', 'pipe'] });
    // A guest that ends while input is on its way to it.
    this.child.stdin.on('error', () => {});
    this.child.stdout.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString('latin1');
    });
    this.child.stderr.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    this.#ended = new Promise((resolveEnd, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (status, signal) =>
        resolveEnd({ status, signal, output: this.#output, errors: this.#errors }),
      );
    });
  }

  /** What the guest has written so far. */
  get output(): string {
    return this.#output;
  }

  /** Resolves when the output has this text. */
  async printed(text: string): Promise<void> {
    while (!this.#output.includes(text)) {
      await new Promise<void>((resolveData) => this.child.stdout.once('data', () => resolveData()));
    }
  }

  end(): Promise<Ended> {
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL');
    await this.#ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

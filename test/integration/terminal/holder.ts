/** Makes the terminal on standard input raw, says so on descriptor 3, and ends in the way that its argument names. */
import { readSync, writeSync } from 'node:fs';
import { Terminal } from '#vmm/terminal.ts';
import { hostTerminalCalls } from '#vmm/terminal-calls.ts';

const REPORT_FD = 3;
const ORDERS_FD = 4;

const terminal = Terminal.open(0, hostTerminalCalls(complain));
if (terminal === undefined) throw new Error('standard input is no terminal');

terminal.enterRaw();
report('raw');
waitForOrder();
const [, , end] = process.argv;
if (end === 'throw') throw new Error('on purpose');
if (end === 'exit') process.exit(3);
if (end === 'close') {
  terminal.close();
  process.exit(0);
}
if (end === 'stop') {
  terminal.stop();
  terminal.enterRaw();
  report('raw');
}
waitForOrder();

/** Waits synchronously, as the main loop of a machine does. */
function waitForOrder(): void {
  readSync(ORDERS_FD, Buffer.alloc(1));
}

function report(word: string): void {
  writeSync(REPORT_FD, `${word}\n`);
}

function complain(message: string): void {
  throw new Error(message);
}

/** Debian's gdb at machines on the software CPU. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { missingProgram } from '../../host-needs.ts';
import { code, TinyGuest } from './tiny-guest.ts';

const limit = { timeout: 120_000 };
const GDB_LIMIT_MS = 60_000;
const SOCKET_LIMIT_MS = 20_000;

/** 1000000: mov ecx,5; 1000005: mov [1001000h],ecx; 100000c: dec ecx; 100000e: jnz 1000005; 1000010: the text, and the end. */
const LOOP = ['b905000000 890c25 00100001 ffc9 75f5', code.print('done'), code.powerOff, code.spin];

function socketOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-gdb-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'gdb.sock');
}

async function untilThere(path: string): Promise<void> {
  for (let waitedMs = 0; !existsSync(path); waitedMs += 20) {
    assert.ok(waitedMs < SOCKET_LIMIT_MS, `${path} is not there`);
    await setTimeout(20);
  }
}

/** What gdb says to commands. */
async function gdb(socket: string, commands: readonly string[]): Promise<string> {
  await untilThere(socket);
  const all = [
    'set pagination off',
    'set confirm off',
    'set architecture i386:x86-64',
    `target remote ${socket}`,
    ...commands,
  ];
  const parameters = ['-batch', '-nx', ...all.flatMap((command) => ['-ex', command])];
  const { stdout, stderr } = await promisify(execFile)('gdb', parameters, { timeout: GDB_LIMIT_MS });
  return stdout + stderr;
}

describe('gdb', { ...limit, skip: missingProgram('gdb', 'gdb') }, () => {
  for (const options of [[], ['--no-jit']]) {
    const name = options.join(' ') || 'with the compiler';
    test(`stops at a breakpoint and at watched data, steps, reads and writes (${name})`, limit, async (t) => {
      const socket = socketOf(t);
      await using guest = new TinyGuest(LOOP, [...options, `--gdb=unix:${socket}`]);
      const said = await gdb(socket, [
        'printf "at %lx\\n", $rip',
        'x/5xb 0x1000000',
        'break *0x100000c',
        'continue',
        'printf "first rip %lx rcx %ld\\n", $rip, $rcx',
        'x/5xb 0x100000c',
        'delete',
        'watch *(int*)0x1001000',
        'continue',
        'printf "changed to %d\\n", *(int*)0x1001000',
        'delete',
        'stepi',
        'printf "stepped to %lx rcx %ld\\n", $rip, $rcx',
        'set $rcx = 1',
        'set {char}0x1000015 = 0x44',
        'continue',
      ]);
      const ended = await guest.end();
      assert.match(said, /at 1000000\n/);
      // As the guest has them: a breakpoint is not seen.
      assert.match(said, /0x1000000:\s+0xb9\s+0x05\s+0x00\s+0x00\s+0x00/);
      assert.match(said, /first rip 100000c rcx 5\n/);
      assert.match(said, /0x100000c:\s+0xff\s+0xc9\s+0x75\s+0xf5/);
      assert.match(said, /Old value = 5\nNew value = 4/);
      assert.match(said, /changed to 4\n/);
      assert.match(said, /stepped to 100000e rcx 3\n/);
      assert.match(said, /exited normally/);
      // The text begins behind a call of five bytes.
      assert.deepEqual([ended.status, ended.output], [0, 'Done'], ended.errors);
    });
  }

  test('sees each vCPU as a thread, breaks into a guest that spins, and lets it go', limit, async (t) => {
    const socket = socketOf(t);
    await using guest = new TinyGuest([code.print('up'), code.spin], ['--cpus=2', `--gdb=unix:${socket}`]);
    const first = await gdb(socket, ['info threads', 'detach']);
    assert.match(first, /1 +Thread 1 \(vCPU 0[^\n]*0x0*1000000 /);
    assert.match(first, /2 +Thread 2 \(vCPU 1[^\n]*0x0*fff0 /);
    await guest.printed('up');
    // Who connects to a machine that runs has it stand still.
    const second = await gdb(socket, ['thread 1', 'x/2xb $rip', 'kill']);
    assert.match(second, /:\s+0xeb\s+0xfe/);
    assert.equal((await guest.end()).status, 0);
  });
});

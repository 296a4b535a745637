import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { PvclockVcpuTimeInfo, PvclockWallClock } from '#hypervisor/software/kvm-clock.ts';
import { u64AsNumber, viewOf } from '#util/struct.ts';
import { COMMAND_LINE_MAX_BYTES } from '#vmm/config.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { code, TinyGuest } from './tiny-guest.ts';

const limit = { timeout: 120_000 };

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('the exit status of a run', limit, () => {
  for (const { name, pieces, status, output = '', options = [] } of [
    {
      name: 'power-off through ACPI',
      pieces: [code.print('bye'), code.powerOff],
      status: EXIT_CODES['power-off'],
      output: 'bye',
    },
    { name: 'reset through port 0xcf9', pieces: [code.resetByResetControl], status: EXIT_CODES.reset },
    { name: 'reset through the i8042', pieces: [code.resetByKeyboardController], status: EXIT_CODES.reset },
    { name: 'a triple fault', pieces: [code.tripleFault], status: EXIT_CODES.crash },
    {
      name: "a reset after the kernel's words of panic",
      pieces: [code.print('[1.0] Kernel panic - not syncing: x\n'), code.resetByResetControl],
      status: EXIT_CODES.panic,
      output: '[1.0] Kernel panic - not syncing: x\n',
    },
    ...[0x10, 0xff].map((value) => ({
      name: `${value} at the port of --debug-exit`,
      pieces: [code.print('bye'), code.debugExit(value)],
      options: ['--debug-exit'],
      status: ((value << 1) | 1) & 0xff,
      output: 'bye',
    })),
    {
      name: 'that port without the option, which nobody answers',
      pieces: [code.debugExit(1), code.powerOff],
      status: EXIT_CODES['power-off'],
    },
    {
      name: 'a power-off after those words',
      pieces: [code.print('Kernel panic - not syncing'), code.powerOff],
      status: EXIT_CODES['power-off'],
      output: 'Kernel panic - not syncing',
    },
  ]) {
    test(`${name}: ${status}`, limit, async () => {
      await using guest = new TinyGuest([...pieces, code.spin], options);
      const ended = await guest.end();
      assert.deepEqual([ended.status, ended.signal, ended.output], [status, null, output]);
    });
  }

  for (const { name, piece } of [
    { name: 'spins', piece: code.spin },
    { name: 'has halted for ever', piece: code.haltForever },
  ]) {
    test(`SIGTERM while the guest ${name}: 143`, limit, async () => {
      await using guest = new TinyGuest([code.print('up'), piece]);
      await guest.printed('up');
      guest.child.kill('SIGTERM');
      assert.equal((await guest.end()).status, 143);
    });
  }

  test('SIGTERM while nobody reads what the guest floods its console with: 143', limit, async () => {
    await using guest = new TinyGuest([code.print('up'), code.flood]);
    await guest.printed('up');
    guest.child.stdout.pause();
    // Until the socket's buffers are full; what is asserted does not depend on it.
    await new Promise((resolve) => setTimeout(resolve, 300));
    guest.child.kill('SIGTERM');
    const status = await new Promise((resolve) => guest.child.once('exit', resolve));
    guest.child.stdout.resume();
    assert.equal(status, 143);
  });
});

// Whether the guest then waits in its port or between two slices of instructions depends on how fast it writes.
for (const nops of [0, 10])
  test(
    `input for a port that waits for the reader of its output does not hold up a signal (${nops} NOPs)`,
    limit,
    async () => {
      await using guest = new TinyGuest([code.print('up'), code.slowFlood(nops)]);
      await guest.printed('up');
      guest.child.stdout.pause();
      const pause = () => new Promise((resolve) => setTimeout(resolve, 500));
      // Until the buffers are full and the guest waits in its port; what is asserted holds otherwise too.
      await pause();
      guest.child.stdin.write('input\n');
      await pause();
      guest.child.kill('SIGTERM');
      const killedAt = performance.now();
      await new Promise((resolve) => guest.child.once('exit', resolve));
      assert.ok(performance.now() - killedAt < 10_000, 'ends long before the limit');
      guest.child.stdout.resume();
      assert.equal((await guest.end()).status, 143);
    },
  );

test('the paravirtual clock tells the time of day and the TSC as they are', limit, async () => {
  const registers = [
    'b9004d564b b800500000 31d2 0f30', // wrmsr 0x4b564d00: the wall clock at 0x5000
    'b9014d564b b841500000 31d2 0f30', // wrmsr 0x4b564d01: the system time at 0x5040
    '0f31 890425 60500000 891425 64500000', // rdtsc, to 0x5060
  ];
  const print = 'be00500000 b968000000 66baf803 ac ee e2fc'; // 0x68 bytes at 0x5000 to serial port 1
  const beforeMs = Date.now();
  await using guest = new TinyGuest([...registers, print, code.powerOff, code.spin]);
  const { output } = await guest.end();
  const afterMs = Date.now();
  const view = viewOf(Buffer.from(output, 'latin1'));
  const wall = PvclockWallClock.decode(view, 0);
  const { systemTime, tscTimestamp, flags } = PvclockVcpuTimeInfo.decode(view, 0x40);
  const tsc = u64AsNumber.get(view, 0x60);
  assert.deepEqual([wall.version, view.getUint32(0x40, true), flags], [2, 2, 1]);
  assert.ok(tsc > tscTimestamp && tsc - tscTimestamp < 1e9, `the TSC went from ${tscTimestamp} to ${tsc}`);
  const timeOfDayMs = wall.sec * 1000 + (wall.nsec + systemTime) / 1e6;
  assert.ok(timeOfDayMs > beforeMs && timeOfDayMs < afterMs, `${timeOfDayMs} is not from ${beforeMs} to ${afterMs}`);
});

describe('standard input', limit, () => {
  test('arrives whole at a port that is polled, more than any buffer on the way holds', limit, async () => {
    await using guest = new TinyGuest([code.enableFifos, code.echoUntilQ, code.powerOff, code.spin]);
    const text = 'all of it\n'.repeat(20_000);
    guest.child.stdin.write(`${text}q`);
    const ended = await guest.end();
    assert.equal(ended.status, 0);
    assert.equal(ended.output, `${text}q`);
  });

  test('its end does not end the guest', limit, async () => {
    await using guest = new TinyGuest([code.print('up'), code.spin]);
    guest.child.stdin.end();
    await guest.printed('up');
    assert.equal(guest.child.exitCode, null);
    guest.child.kill('SIGTERM');
    assert.equal((await guest.end()).status, 143);
  });
});

describe('serial outputs', limit, () => {
  test('a file is created and gets every byte', limit, async (t) => {
    const pieces = [code.print('to the file'), code.powerOff, code.spin];
    const path = join(temporaryFolder(t), 'serial.log');
    await using guest = new TinyGuest(pieces, [`--serial=type=file,path=${path},num=1`]);
    const ended = await guest.end();
    assert.deepEqual([ended.status, ended.output], [0, '']);
    assert.equal(readFileSync(path, 'latin1'), 'to the file');
  });

  test('a file is not created when the loaders refuse what the user gave', limit, async (t) => {
    const path = join(temporaryFolder(t), 'serial.log');
    // Fits alone, but not beside the words that the machine adds.
    const params = `--params=${'x'.repeat(COMMAND_LINE_MAX_BYTES)}`;
    await using guest = new TinyGuest([code.spin], [`--serial=type=file,path=${path},num=1,console`, params]);
    assert.equal((await guest.end()).status, EXIT_CODES['bad-arguments']);
    assert.equal(existsSync(path), false);
  });

  test('a stream socket gets every byte', limit, async (t) => {
    await using server = createServer();
    const received = new Promise<string>((resolve) => {
      server.once('connection', (socket) => {
        let text = '';
        socket.on('data', (chunk: Buffer) => {
          text += chunk.toString('latin1');
        });
        socket.on('close', () => resolve(text));
      });
    });
    const path = join(temporaryFolder(t), 'socket');
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await using guest = new TinyGuest(
      [code.print('to the socket'), code.powerOff, code.spin],
      [`--serial=type=unix-stream,path=${path},num=1`],
    );
    assert.equal((await guest.end()).status, 0);
    assert.equal(await received, 'to the socket');
  });

  test('a closed pipe ends the output, not the guest', limit, async () => {
    await using guest = new TinyGuest([
      code.print('up'),
      code.echoUntilQ,
      code.print('more'),
      code.resetByResetControl,
      code.spin,
    ]);
    await guest.printed('up');
    guest.child.stdout.destroy();
    guest.child.stdin.write('q');
    const [status] = await new Promise<[number | null]>((resolve) => guest.child.once('exit', (s) => resolve([s])));
    assert.equal(status, EXIT_CODES.reset);
  });
});

test('--log-level debug tells of accesses that no device answers', limit, async () => {
  // in al, 0x70's neighbour 0x7f; mov [0xd0000000], al; mov ecx,12345h; rdmsr is #GP, which ends the guest
  await using guest = new TinyGuest(['e47f a2000000d000000000 b945230100 0f32'], ['--log-level=debug']);
  const { errors } = await guest.end();
  assert.match(errors, /^crosvm: debug: board: read of port 0x7f, 1 bytes: no device is there$/m);
  assert.match(errors, /^crosvm: debug: board: write to address 0xd0000000, 1 bytes: no device is there$/m);
  assert.match(errors, /^crosvm: debug: vcpu0: read of MSR 0x12345, which does not exist: #GP$/m);
});

test('--stats gives one line of JSON with the instructions that were run', limit, async () => {
  await using guest = new TinyGuest([code.print('x'), code.powerOff, code.spin], ['--stats']);
  const ended = await guest.end();
  const line = ended.errors.trimEnd().split('\n').at(-1) ?? '';
  const figures = JSON.parse(line) as Record<string, unknown>;
  assert.equal(figures['exit'], 'power-off');
  assert.ok((figures['instructions'] as number) > 5);
});

test(
  '--trace-start tells when each step of the start had been done, before the guest says anything',
  limit,
  async (t) => {
    const disk = join(temporaryFolder(t), 'disk');
    writeFileSync(disk, new Uint8Array(1 << 20));
    const options = ['--trace-start', `--block=${disk},ro`];
    await using guest = new TinyGuest([code.print('x'), code.powerOff, code.spin], options);
    const { status, errors } = await guest.end();
    assert.equal(status, EXIT_CODES['power-off'], errors);
    const steps = [...errors.matchAll(/^crosvm: start: +(\d+\.\d) ms +\+(\d+\.\d) {2}(.+)$/gm)];
    const ends = steps.map(([, end]) => Number(end));
    assert.deepEqual(
      ends,
      ends.toSorted((a, b) => a - b),
    );
    const names = new Set(steps.map(([, , , name]) => name));
    for (const name of ['Node.js and the command line', 'the machine is built', 'the threads are ready']) {
      assert.ok(names.has(name), `no line of "${name}" in ${errors}`);
    }
    assert.ok(names.has('block0 is in its jail'), errors);
    assert.equal(steps.at(-1)?.[3], 'the walls of main are up');
  },
);

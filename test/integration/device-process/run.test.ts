/** `crosvm run` one of whose device processes dies: with a guest that leaves the device alone, and with one that asks it all the time. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { probeJail } from '#jail/probe.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { pidfdOpen } from '#sys/process.ts';
import { kill, Signal } from '#sys/signal.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { childrenOfThreads, statusOf } from '../jail/observe.ts';
import { code, TinyGuest } from '../run/tiny-guest.ts';

const limit = { timeout: 60_000 };
const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

/** Reads the identity of the function at device 2, the disk, by ports 0xcf8 and 0xcfc, for ever. */
const askDiskForEver = '66baf80c b800100080 ef 66bafc0c ed ebef';

function diskImage(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-device-process-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'disk');
  writeFileSync(path, new Uint8Array(1 << 20));
  return path;
}

/** The process of this name below another. */
function descendant(pid: number, name: string): number | undefined {
  for (const child of childrenOfThreads(pid)) {
    const found = statusOf(child)['Name'] === name ? child : descendant(child, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

for (const { how, options, skip, signals } of [
  // The first process of a pid namespace takes no other signal.
  { how: 'in its jail', options: [], skip: hostRefuses, signals: ['SIGKILL'] },
  { how: 'without a jail', options: ['--disable-sandbox'], skip: false as const, signals: ['SIGKILL', 'SIGSYS'] },
] as const) {
  describe(`a run whose disk's process, ${how},`, { skip, ...limit }, () => {
    for (const signal of signals) {
      test(`ends by ${signal} ends with a host error, one line about it and no process left`, limit, async (t) => {
        const block = `--block=path=${diskImage(t)}`;
        await using guest = new TinyGuest([code.print('up'), code.haltForever], [block, ...options]);
        await guest.printed('up');
        const pids = ['rng', 'block0'].map((name) => descendant(guest.child.pid ?? 0, name) ?? 0);
        const pidfds = pids.map((pid) => new Fd(pidfdOpen(pid)));
        kill(pids[1] ?? 0, Signal[signal]);
        const ended = await guest.end();
        assert.deepEqual(
          [ended.status, ended.signal, ended.errors.split('\n').slice(1)],
          [EXIT_CODES['host-error'], null, [`crosvm: block0: its process ended: killed by ${signal}`, '']],
        );
        for (const pidfd of pidfds) {
          assert.notEqual(pollFd(pidfd.fd, PollFlag.IN, 10_000), 0);
          pidfd.close();
        }
      });
    }

    test('ends while the guest asks it ends with a host error and one line about it', limit, async (t) => {
      const block = `--block=path=${diskImage(t)}`;
      await using guest = new TinyGuest([code.print('up'), askDiskForEver], [block, ...options]);
      await guest.printed('up');
      const device = descendant(guest.child.pid ?? 0, 'block0') ?? 0;
      kill(device, Signal.SIGKILL);
      const ended = await guest.end();
      assert.deepEqual(
        [ended.status, ended.signal, ended.errors.split('\n').slice(1)],
        [EXIT_CODES['host-error'], null, ['crosvm: block0: its process ended: killed by SIGKILL', '']],
      );
    });

    test('ends while the warden is stopped ends with a host error and one line about it', limit, async (t) => {
      const block = `--block=path=${diskImage(t)}`;
      await using guest = new TinyGuest([code.print('up'), askDiskForEver], [block, ...options]);
      await guest.printed('up');
      const device = descendant(guest.child.pid ?? 0, 'block0') ?? 0;
      kill(Number(statusOf(device)['PPid']), Signal.SIGSTOP);
      kill(device, Signal.SIGKILL);
      const ended = await guest.end();
      assert.deepEqual(
        [ended.status, ended.signal, ended.errors.split('\n').slice(1)],
        [EXIT_CODES['host-error'], null, ['crosvm: block0: its process is gone', '']],
      );
    });
  });
}

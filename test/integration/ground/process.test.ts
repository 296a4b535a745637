import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { getCapabilities, getRlimit, setCapabilities, setRlimit } from '#sys/credentials.ts';
import { dup2, dup3 } from '#sys/descriptors.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { FcntlCommand, fcntl, OpenFlag, tryRead } from '#sys/file.ts';
import { chdir, mount, pivotRoot, umount } from '#sys/namespaces.ts';
import { isDumpable } from '#sys/prctl.ts';
import { pidfdOpen, pidfdSendSignal, tryWaitPidfd, waitPidfd } from '#sys/process.ts';

/** No process has it: above pid_max. */
const NO_PID = 2 ** 30;

describe('a duplicate at a number', () => {
  test('is open over exec with dup2, closed with dup3', () => {
    const { reader, writer } = openPipe(OpenFlag.NONBLOCK);
    using place = Fd.open('/dev/null');
    dup2(reader.fd, place.fd);
    assert.equal(fcntl(place.fd, FcntlCommand.GETFD), 0);
    dup3(reader.fd, place.fd);
    assert.equal(fcntl(place.fd, FcntlCommand.GETFD), 1);
    assert.equal(tryRead(place.fd, new Uint8Array(1)), undefined);
    assert.throws(() => dup3(reader.fd, reader.fd), { code: 'EINVAL' });
    reader.close();
    writer.close();
  });
});

function waitForMyself(): void {
  using own = new Fd(pidfdOpen(process.pid));
  waitPidfd(own.fd);
}

describe('what fails names its call', () => {
  const calls: Readonly<Record<string, readonly [string, string, () => void]>> = {
    'pidfd_open of nobody': ['pidfd_open', 'ESRCH', () => pidfdOpen(NO_PID)],
    'waitid for nobody': ['waitid', 'ECHILD', () => waitForMyself()],
    'waitid on what is no pidfd': ['waitid', 'EBADF', () => tryWaitPidfd(2 ** 20)],
    'a signal to what is no pidfd': ['pidfd_send_signal', 'EBADF', () => pidfdSendSignal(2 ** 20, 0)],
    'chdir to nowhere': ['chdir', 'ENOENT', () => chdir('/does-not-exist')],
    'a NUL in a path': ['mount', 'EINVAL', () => mount({ source: 'none', target: '/a\0b' })],
  };
  for (const [name, [syscall, code, work]] of Object.entries(calls)) {
    test(name, () => assert.throws(work, { name: 'SyscallError', syscall, code }));
  }

  test('mounting, whoever asks for it', () => {
    // Root has no such directory, and anybody else no right.
    const either = { name: 'SyscallError', code: /^(EPERM|ENOENT|EACCES)$/ };
    assert.throws(() => mount({ source: 'none', target: '/does-not-exist', type: 'tmpfs' }), either);
    assert.throws(() => umount('/does-not-exist'), either);
    assert.throws(() => pivotRoot('/does-not-exist', '/does-not-exist'), either);
  });
});

test('capabilities are those that /proc shows, and can be set to themselves', () => {
  const status = readFileSync('/proc/self/status', 'latin1');
  const shown = (name: string) => BigInt(`0x${new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(status)?.[1]}`);
  const sets = { effective: shown('CapEff'), permitted: shown('CapPrm'), inheritable: shown('CapInh') };
  assert.deepEqual(getCapabilities(), sets);
  setCapabilities(sets);
  assert.deepEqual(getCapabilities(), sets);
});

test('a limit can be set to itself and not above the hard limit', () => {
  const limit = getRlimit('NOFILE');
  setRlimit('NOFILE', limit);
  assert.deepEqual(getRlimit('NOFILE'), limit);
  assert.throws(() => setRlimit('NOFILE', { soft: limit.hard + 1n, hard: limit.hard }), { code: 'EINVAL' });
});

test('a process of tests can be traced', () => assert.equal(isDumpable(), true));

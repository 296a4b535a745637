import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { test } from 'node:test';
import { returnValue } from './action.ts';
import { X86_64 } from './architecture.ts';
import { compilePolicy, policyPath } from './compile.ts';
import { PolicyError } from './policy-error.ts';
import { checkProgram, runProgram } from './testing-bpf.ts';

const NO_ARGUMENTS = [0n, 0n, 0n, 0n, 0n, 0n];
const ROOT = resolve(import.meta.dirname, '../../..');

const SHIPPED = globSync('seccomp/*/*.policy', { cwd: ROOT }).sort();

test('there are policies of the first devices', () => {
  assert.deepEqual(
    SHIPPED.map((path) => basename(path, '.policy')),
    [
      'balloon_device',
      'block_device',
      'common_device',
      'console_device',
      'fs_device',
      'input_device',
      'net_device',
      'pmem_device',
      'rng_device',
      'serial_device',
      'vsock_device',
    ],
  );
});

for (const path of SHIPPED) {
  const name = basename(path, '.policy');
  const program = () =>
    compilePolicy({ path: policyPath(X86_64, name), architecture: X86_64, defaultAction: 'kill-process' });

  test(`${path} compiles, and refuses executable memory, new programs and files`, () => {
    const filter = program();
    checkProgram(filter);
    const run = (call: string, ...args: bigint[]) => {
      const number = X86_64.systemCalls.get(call);
      assert.ok(number !== undefined);
      return runProgram(filter, { call: number, arch: X86_64.auditArch, args: [...args, ...NO_ARGUMENTS].slice(0, 6) });
    };
    assert.equal(run('read'), returnValue('allow'));
    assert.equal(run('mmap', 0n, 4096n, 3n), returnValue('allow'));
    for (const call of ['mmap', 'mprotect']) assert.equal(run(call, 0n, 4096n, 4n), returnValue('kill-process'));
    for (const call of ['execve', 'open', 'openat', 'socket', 'clone', 'fork', 'ptrace', 'ioctl', 'prctl', 'seccomp']) {
      assert.equal(run(call), returnValue('kill-process'), call);
    }
  });

  test(`${path} begins with the common policy and gives a reason for each group of calls`, () => {
    const lines = readFileSync(resolve(ROOT, path), 'utf8').split('\n');
    if (name !== 'common_device') {
      assert.equal(
        lines.find((line) => line !== '' && !line.startsWith('#')),
        '@include common_device.policy',
      );
    }
    const groups = readFileSync(resolve(ROOT, path), 'utf8')
      .split(/\n\n|\n(?=#)/)
      .filter((group) => /^\w+:/m.test(group));
    assert.deepEqual(
      groups.filter((group) => !/^#/m.test(group)),
      [],
    );
  });
}

test('a policy that is missing, or no regular file, is refused', () => {
  const compile = (path: string) => compilePolicy({ path, architecture: X86_64, defaultAction: 'trap' });
  checkProgram(compile(policyPath(X86_64, 'rng_device')));
  assert.throws(() => compile('/nonexistent/x.policy'), PolicyError);
  assert.throws(() => compile('/dev/zero'), {
    message: '/dev/zero: cannot read the policy: "/dev/zero" is not a regular file',
  });
});

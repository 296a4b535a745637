import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, resolve } from 'node:path';
import { test } from 'node:test';
import { returnValue } from './action.ts';
import { X86_64 } from './architecture.ts';
import type { Instruction } from './bpf.ts';
import { compilePolicy, policyPath } from './compile.ts';
import { PolicyError } from './policy-error.ts';
import { checkProgram, runProgram } from './testing-bpf.ts';

const NO_ARGUMENTS = [0n, 0n, 0n, 0n, 0n, 0n];
const ROOT = resolve(import.meta.dirname, '../../..');

const SHIPPED = globSync('seccomp/*/*.policy', { cwd: ROOT }).sort();

test('there are policies of the first devices and of the main process', () => {
  assert.deepEqual(
    SHIPPED.map((path) => basename(path, '.policy')),
    [
      'balloon_device',
      'block_device',
      'cmos_device',
      'common_device',
      'console_device',
      'fs_device',
      'i8042_device',
      'input_device',
      'main',
      'net_device',
      'pmem_device',
      'rng_device',
      'serial_device',
      'vsock_device',
    ],
  );
});

function actionOf(filter: readonly Instruction[], call: string, ...args: bigint[]): number {
  const number = X86_64.systemCalls.get(call);
  assert.ok(number !== undefined, call);
  return runProgram(filter, { call: number, arch: X86_64.auditArch, args: [...args, ...NO_ARGUMENTS].slice(0, 6) });
}

for (const path of SHIPPED) {
  const name = basename(path, '.policy');
  const program = () =>
    compilePolicy({ path: policyPath(X86_64, name), architecture: X86_64, defaultAction: 'kill-process' });

  if (name !== 'main')
    test(`${path} compiles, and refuses executable memory, new programs and files`, () => {
      const filter = program();
      checkProgram(filter);
      const run = (call: string, ...args: bigint[]) => actionOf(filter, call, ...args);
      assert.equal(run('read'), returnValue('allow'));
      assert.equal(run('mmap', 0n, 4096n, 3n), returnValue('allow'));
      for (const call of ['mmap', 'mprotect']) assert.equal(run(call, 0n, 4096n, 4n), returnValue('kill-process'));
      for (const call of [
        'execve',
        'open',
        'openat',
        'socket',
        'clone',
        'fork',
        'ptrace',
        'ioctl',
        'prctl',
        'seccomp',
      ]) {
        assert.equal(run(call), returnValue('kill-process'), call);
      }
    });

  test(`${path} begins with the common policy and gives a reason for each group of calls`, () => {
    const lines = readFileSync(resolve(ROOT, path), 'utf8').split('\n');
    if (name !== 'common_device' && name !== 'main') {
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

test('the policy of the main process leaves threads and code, and no way to other processes, files, networks and the kernel', () => {
  const filter = compilePolicy({
    path: policyPath(X86_64, 'main'),
    architecture: X86_64,
    defaultAction: 'kill-process',
  });
  checkProgram(filter);
  const constant = (name: string) => BigInt(X86_64.constants.get(name) ?? Number.NaN);
  assert.equal(actionOf(filter, 'mprotect', 0n, 4096n, 5n), returnValue('allow'));
  assert.equal(actionOf(filter, 'clone', constant('CLONE_THREAD') | constant('CLONE_VM')), returnValue('allow'));
  assert.equal(actionOf(filter, 'socket', constant('AF_UNIX')), returnValue('allow'));
  const killed = [
    'clone',
    'fork',
    'vfork',
    'execve',
    'execveat',
    'ptrace',
    'kill',
    'tgkill',
    'tkill',
    'process_vm_writev',
  ];
  killed.push('mount', 'fsopen', 'move_mount', 'pivot_root', 'chroot', 'unshare', 'setns', 'bpf', 'perf_event_open');
  killed.push(
    'init_module',
    'finit_module',
    'kexec_load',
    'reboot',
    'io_uring_setup',
    'io_uring_enter',
    'io_uring_register',
  );
  killed.push(
    'bind',
    'listen',
    'creat',
    'openat2',
    'open_by_handle_at',
    'rename',
    'link',
    'symlink',
    'chmod',
    'truncate',
  );
  killed.push('setuid', 'capset', 'seccomp', 'pidfd_open', 'pidfd_getfd', 'userfaultfd', 'memfd_create', 'keyctl');
  for (const call of killed) assert.equal(actionOf(filter, call), returnValue('kill-process'), call);
  assert.equal(actionOf(filter, 'socket', constant('AF_INET')), returnValue('kill-process'));
  assert.equal(actionOf(filter, 'ioctl', 0n, constant('TIOCSTI')), returnValue('kill-process'));
  for (const call of ['open', 'openat'])
    assert.equal(actionOf(filter, call), returnValue({ errno: constants.errno.EACCES }));
});

test('a policy that is missing, or no regular file, is refused', () => {
  const compile = (path: string) => compilePolicy({ path, architecture: X86_64, defaultAction: 'trap' });
  checkProgram(compile(policyPath(X86_64, 'rng_device')));
  assert.throws(() => compile('/nonexistent/x.policy'), PolicyError);
  assert.throws(() => compile('/dev/zero'), {
    message: '/dev/zero: cannot read the policy: "/dev/zero" is not a regular file',
  });
});

/** Filters in the kernel: processes of their own install one and make calls. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Action, returnValue } from '#jail/seccomp/action.ts';
import { X86_64 } from '#jail/seccomp/architecture.ts';
import { policyPath } from '#jail/seccomp/compile.ts';
import { resolvePolicy } from '#jail/seccomp/resolver.ts';
import { cornerArguments, meaning } from '#jail/seccomp/testing-bpf.ts';
import { installSeccompFilter, isSeccompActionAvailable } from '#sys/seccomp.ts';
import { errorMessage } from '#util/errors.ts';
import { Random } from '../../../fuzz/random.ts';
import type { Call, ChildOrders } from './seccomp-child.ts';

const { EPERM, ENOENT, EDOM, ERANGE } = constants.errno;
const CHILD = resolve(import.meta.dirname, 'seccomp-child.ts');
const LIMIT_MS = 60_000;

/** Without these a process's other threads and the loader would need calls of their own. */
const NODE_OPTIONS = ['--single-threaded', '--v8-pool-size=0'];

/** What a process needs to report and to end. */
const ALIVE = 'write: 1\nexit_group: 1\nmmap: 1\nmunmap: 1\nmadvise: 1\nbrk: 1\nfutex: 1\nmprotect: 1\ngetpid: 1\n';

/** Why no filter can be installed here, if so. */
function unavailable(): string | false {
  try {
    return isSeccompActionAvailable(returnValue('kill-process'))
      ? false
      : 'this kernel cannot kill processes by seccomp';
  } catch (error) {
    return `seccomp(2) does not work here: ${errorMessage(error)}`;
  }
}
const skip = unavailable();

const folder = mkdtempSync(join(tmpdir(), 'crosvm-seccomp-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function number(name: string): number {
  const found = X86_64.systemCalls.get(name);
  assert.ok(found !== undefined, name);
  return found;
}

function run(orders: ChildOrders) {
  const file = join(folder, 'orders.json');
  writeFileSync(file, JSON.stringify(orders));
  const child = spawnSync(process.execPath, [...NODE_OPTIONS, CHILD, file], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  return {
    status: child.status,
    signal: child.signal,
    lines: child.stdout.split('\n').slice(0, -1),
    errors: child.stderr,
  };
}

/** A process under a policy of this text. */
function runUnder(text: string, orders: Omit<ChildOrders, 'policy'>) {
  const policy = join(folder, 'test.policy');
  writeFileSync(policy, ALIVE + text);
  return run({ policy, defaultAction: 'kill-process', ...orders });
}

const READY = 'no new privileges: true';

describe('a filter in the kernel', { skip }, () => {
  test('lets an allowed call through, gives the errno of return, and kills at a call without a rule', () => {
    const calls: Call[] = [[number('getuid')], [number('getppid')], [number('getgid')], [number('getegid')]];
    const { lines, signal } = runUnder('getuid: 1\ngetppid: return ERANGE\ngetgid: arg0 == 1; return ENOENT', {
      calls,
    });
    assert.deepEqual(lines, [READY, `${process.getuid?.()} 0`, `-1 ${ERANGE}`, `-1 ${ENOENT}`]);
    assert.equal(signal, 'SIGSYS');
  });

  for (const [defaultAction, expected] of [
    ['trap', { signal: 'SIGSYS', last: READY }],
    [{ errno: EPERM }, { signal: null, last: `-1 ${EPERM}` }],
    ['log', { signal: null, last: `${process.getuid?.()} 0` }],
    ['allow', { signal: null, last: `${process.getuid?.()} 0` }],
  ] as const satisfies readonly (readonly [Action, unknown])[]) {
    test(`the default action is ${JSON.stringify(defaultAction)}`, () => {
      const { lines, signal } = runUnder('', { defaultAction, calls: [[number('getuid')]] });
      assert.deepEqual({ signal, last: lines.at(-1) }, expected);
    });
  }

  test('kills at a call of the x32 convention, whatever the default', () => {
    const x32: Call = [0x4000_0000 + number('getpid')];
    assert.equal(runUnder('', { defaultAction: 'allow', calls: [x32] }).signal, 'SIGSYS');
  });

  test('kills at a call of the 32-bit architecture, whatever the default', (context) => {
    const { status, signal } = run({ policy: '', task: 'int80' });
    if (signal === 'SIGSEGV') return context.skip('this kernel has no 32-bit system calls');
    assert.equal(status, 0);
    assert.equal(runUnder('', { defaultAction: 'allow', task: 'int80' }).signal, 'SIGSYS');
  });

  test('compares 64 bits of the arguments as the rules say', () => {
    // Calls that fail with EBADF or EINVAL and do nothing when they are let through: their descriptor is never open.
    const names = ['close', 'dup', 'fsync', 'fdatasync', 'fchdir', 'syncfs'] as const;
    const random = new Random(20);
    const values: bigint[] = [];
    const atom = () => {
      const value = random.oneIn(2) ? random.u64() : random.boundary(64);
      values.push(value);
      return `arg${random.below(6)} ${random.pick(['==', '!=', '<', '<=', '>', '>=', '&', 'in'])} ${value}`;
    };
    const condition = () => Array.from({ length: random.between(1, 3) }, () => `${atom()} && ${atom()}`).join(' || ');
    const text = names.map((name) => `${name}: ${condition()}; return EDOM\n`).join('');
    const pool = cornerArguments(values);
    const unopened = pool.filter((value) => (value & 0xffff_ffffn) > 1_000_000n);
    const calls = Array.from({ length: 3000 }, (): Call => {
      const rest = Array.from({ length: 5 }, () => `${random.pick(pool)}`);
      return [number(random.pick(names)), `${random.pick(unopened)}`, ...rest];
    });
    const { lines, signal, errors } = runUnder(text, { calls });
    assert.equal(signal, null, errors);
    const options = { architecture: X86_64, defaultAction: 'kill-process' } as const;
    const rules = resolvePolicy({ path: join(folder, 'test.policy'), ...options });
    const denied = calls.map(([call, ...args]) => {
      const data = { call, arch: X86_64.auditArch, args: args.map(BigInt) };
      return meaning(rules, data, options) === returnValue({ errno: EDOM });
    });
    assert.deepEqual(
      lines.slice(1).map((line) => line === `-1 ${EDOM}`),
      denied,
    );
    assert.ok(denied.includes(true) && denied.includes(false));
  });
});

describe('a device process under its policy', { skip }, () => {
  for (const name of ['common', 'rng', 'block', 'console', 'balloon', 'serial']) {
    const orders = { policy: policyPath(X86_64, `${name}_device`), defaultAction: 'kill-process' } as const;

    test(`${name}: compiles JavaScript, collects garbage and polls`, () => {
      const { lines, status, signal, errors } = run({ ...orders, task: 'device' });
      assert.deepEqual({ lines, status, signal }, { lines: [READY, 'worked'], status: 0, signal: null }, errors);
    });
  }

  test('rng: draws random bytes, which other devices may not', () => {
    const draw = (name: string) =>
      run({ policy: policyPath(X86_64, name), defaultAction: 'kill-process', task: 'random' });
    assert.equal(draw('rng_device').lines.at(-1), '64 random bytes');
    assert.equal(draw('balloon_device').signal, 'SIGSYS');
  });

  const orders = { policy: policyPath(X86_64, 'common_device'), defaultAction: 'kill-process' } as const;

  test('dies of SIGABRT when it aborts, so that the cause is seen', () => {
    assert.equal(run({ ...orders, task: 'abort' }).signal, 'SIGABRT');
  });

  for (const [what, call] of [
    ['opening a file', [number('openat'), '-100', '0', '0']],
    ['executable memory', [number('mmap'), '0', '4096', '7', '34', '18446744073709551615', '0']],
    ['a program', [number('execve'), '0', '0', '0']],
    ['a signal to another process', [number('kill'), '1', '0']],
    ['a signal other than SIGABRT', [number('tgkill'), '1', '1', '9']],
  ] as const satisfies readonly (readonly [string, Call])[]) {
    test(`is killed at ${what}`, () => {
      const { lines, signal } = run({ ...orders, calls: [call as Call] });
      assert.deepEqual({ lines, signal }, { lines: [READY], signal: 'SIGSYS' });
    });
  }
});

describe('seccomp(2)', { skip }, () => {
  test('knows the actions of filters here, and not one that there is not', () => {
    for (const action of ['kill-process', 'kill-thread', 'trap', 'log', 'allow', { errno: 0 }] as const) {
      assert.equal(isSeccompActionAvailable(returnValue(action)), true, JSON.stringify(action));
    }
    assert.equal(isSeccompActionAvailable(0x1234_0000), false);
  });

  test('refuses a program that does not end in a return', () => {
    const jump = Uint8Array.from([5, 0, 0, 0, 0, 0, 0, 0]);
    assert.throws(() => installSeccompFilter(jump), { code: /EINVAL|EACCES/ });
  });
});

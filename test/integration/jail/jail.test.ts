import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { BASE_JAIL } from '#jail/jail-config.ts';
import { probeJail, type Refused } from '#jail/probe.ts';
import type { ChildStatus } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { runs, type View } from './observe.ts';
import { REFUSED_MAP } from './refused-map.ts';
import { isRoot, NOBODY, observe, type Runner, scenarioCommand, skipReason } from './run-scenario.ts';

interface Seen {
  readonly device: View;
  readonly own: View;
  readonly kept: number;
  readonly reserved: readonly number[];
  /** 1: dumpable, 0: not; 2: the secure bits are wrong. */
  readonly status: ChildStatus;
}

const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

/** Every jail, whoever made it. */
function checkJail({ device, kept, reserved }: Seen): void {
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.equal(Number(`0x${device.status[set]}`), 0, set);
  assert.equal(device.status['NoNewPrivs'], '1');
  assert.equal(device.status['Threads'], '1');
  assert.equal(device.status['Seccomp'], '2');
  assert.equal(device.status['Name'], 'a-long-device-n');
  assert.equal(device.status['NSpid']?.split(/\s+/).at(-1), '1');
  assert.deepEqual(device.rootEntries, []);
  assert.equal(device.mounts.length, 1);
  assert.match(device.mounts[0] ?? '', / \/ \/ ro,nosuid,nodev,noexec\S* - tmpfs /);
  assert.match(device.limits, /Max open files +1024 +1024/);
  assert.match(device.limits, /Max core file size +0 +0/);
  const { [kept]: keptLink = '', ...others } = device.fds;
  assert.match(keptLink, /^socket:/);
  assert.deepEqual(others, Object.fromEntries([0, 1, 2, ...reserved].map((fd) => [fd, '/dev/null'])));
}

for (const runner of ['self', 'nobody'] satisfies Runner[]) {
  const skip = skipReason(runner) || hostRefuses;
  describe(`a jailed child, made by ${runner === 'self' ? 'the user of the tests' : 'an ordinary user'}`, {
    skip,
  }, () => {
    test('has an empty read-only root, no capability, a filter, and the descriptors that it keeps', () => {
      const seen = observe<Seen>(runner, 'view', 'traceable');
      checkJail(seen);
      for (const name of ['user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup']) {
        assert.notEqual(seen.device.namespaces[name], seen.own.namespaces[name], name);
      }
      assert.deepEqual(seen.status, { exitCode: 1 });
    });

    test('has no capability and gets none even without any namespace', () => {
      const { device } = observe<Seen>(runner, 'view', 'free');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
        assert.equal(Number(`0x${device.status[set]}`), 0, set);
      assert.equal(device.status['NoNewPrivs'], '1');
    });

    test('computes with the JIT and the garbage collector', () => {
      const { status, sum, expected } = observe<{ status: ChildStatus; sum: number; expected: number }>(
        runner,
        'compute',
      );
      assert.deepEqual(status, { exitCode: 42 });
      assert.equal(sum, expected);
    });

    test('ends with the status of its function, 101 when that throws, the signal of a forbidden call', () => {
      const killed = { signal: Signal.SIGSYS };
      assert.deepEqual(observe(runner, 'statuses'), {
        zero: [{ exitCode: 0 }, { exitCode: 0 }],
        seven: [{ exitCode: 7 }, { exitCode: 7 }],
        'two hundred and fifty-five': [{ exitCode: 255 }, { exitCode: 255 }],
        'too large': [{ exitCode: 101 }, { exitCode: 101 }],
        throws: [{ exitCode: 101 }, { exitCode: 101 }],
        opens: [killed, killed],
      });
    });

    test('ends by the signal that ended it', () => {
      const seen = observe<{ name: keyof typeof Signal; status: ChildStatus }[]>(runner, 'signals');
      for (const { name, status } of seen) assert.deepEqual(status, { signal: Signal[name] }, name);
      assert.equal(seen.length, 4);
    });

    test('is made a hundred times without a descriptor, mapping or process left', () => {
      type State = { fds: Record<string, string>; children: number[]; maps: number };
      const { before, after, statuses } = observe<{ before: State; after: State; statuses: ChildStatus[] }>(
        runner,
        'hundred',
      );
      assert.equal(statuses.filter((status) => 'exitCode' in status && status.exitCode === 3).length, 100);
      assert.deepEqual(after.fds, before.fds);
      assert.deepEqual(after.children, []);
      assert.ok(after.maps < before.maps + 50, `${before.maps} mappings before, ${after.maps} after`);
    });

    test("has the memory that V8 keeps from children, and not libuv's rings", () => {
      assert.deepEqual(observe(runner, 'inherited'), { status: { exitCode: 23 }, kept: [] });
    });

    test("frees memory without writing to a device's descriptor in place of libuv's", () => {
      assert.deepEqual(observe(runner, 'freedMemory'), { status: { exitCode: 9 }, written: 0 });
    });

    for (const [how, options, status] of [
      ['to write', 'rw', 0b1001],
      ['to read', 'read-only', 0b1000],
    ] as const) {
      test(`has a folder as its whole world, ${how}`, () => {
        type Answer = { rootEntries: string[]; mounts: string[]; caps: string; end: ChildStatus; made: string[] };
        const { rootEntries, mounts, caps, end, made } = observe<Answer>(runner, 'folder', options);
        assert.deepEqual([rootEntries, mounts.length, Number(`0x${caps}`)], [['file'], 1, 0]);
        assert.match(mounts[0] ?? '', new RegExp(` / ${how === 'to read' ? 'ro' : 'rw'},nosuid,nodev,noexec`));
        assert.deepEqual(end, { exitCode: status });
        assert.deepEqual(made, how === 'to read' ? ['file'] : ['file', 'made']);
      });
    }

    test('does not run when the jail is refused, and says what was', () => {
      type Answer = { refusal: { step: string; errno: number }; status: ChildStatus };
      const { refusal, status } = observe<Answer>(runner, 'refused');
      assert.equal(refusal.step, 'id maps');
      assert.notEqual(refusal.errno, 0);
      assert.deepEqual(status, { exitCode: 102 });
    });

    test('ends when its maker is killed', async () => {
      const [program, ...parameters] = scenarioCommand(runner, 'orphans');
      const maker = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'inherit'] });
      const [line] = (await once(maker.stdout, 'data')) as [Buffer];
      const { device } = JSON.parse(line.toString()) as { device: number };
      assert.ok(runs(device));
      maker.kill('SIGKILL');
      await once(maker, 'close');
      const deadlineMs = performance.now() + 10_000;
      while (runs(device) && performance.now() < deadlineMs) await new Promise(setImmediate);
      assert.ok(!runs(device));
    });
  });
}

describe('a jailed child of root', { skip: isRoot ? hostRefuses : 'the tests do not run as root' }, () => {
  test('is not traceable, which only root can see from outside', () => {
    const seen = observe<Seen>('self', 'view');
    checkJail(seen);
    assert.deepEqual(seen.status, { exitCode: 0 });
  });

  test('becomes another user in the user namespace', () => {
    const seen = observe<Seen>('self', 'view', 'nobody');
    checkJail(seen);
    assert.equal(seen.device.status['Uid'], Array(4).fill(NOBODY).join('\t'));
    assert.notEqual(seen.device.namespaces['user'], seen.own.namespaces['user']);
  });

  for (const users of ['many', 'one'] as const) {
    test(`is the first of ${users} in its namespace, with the capabilities that it keeps there`, () => {
      const { device, end } = observe<{ device: Readonly<Record<string, string>>; end: ChildStatus }>(
        'self',
        'mapped',
        users,
      );
      assert.deepEqual([device['Uid'], device['Gid']], Array(2).fill(Array(4).fill('100000').join('\t')));
      assert.deepEqual(
        ['CapBnd', 'CapInh', 'CapAmb', 'CapEff'].map((set) => Number(`0x${device[set]}`)),
        [0, 0, 0, 0b1011],
      );
      assert.deepEqual(end, { exitCode: 0 });
    });
  }

  test('becomes another user without a user namespace, with no group left', () => {
    const seen = observe<Seen>('self', 'view', 'root-alone');
    checkJail(seen);
    const { status } = seen.device;
    for (const ids of [status['Uid'], status['Gid']]) assert.equal(ids, Array(4).fill(NOBODY).join('\t'));
    assert.equal(status['Groups']?.trim(), '');
    assert.equal(seen.device.namespaces['user'], seen.own.namespaces['user']);
  });
});

test('what the base jail needs is found to be there, or named with what to do', () => {
  for (const { errno, message, whatToDo } of probeJail()) {
    assert.notEqual(errno, 0);
    assert.ok(message.length > 0 && whatToDo.length > 0);
  }
});

test('what the kernel refuses of a jail is named with what to do', { skip: hostRefuses }, () => {
  const found: Refused[] = probeJail({ ...BASE_JAIL, uidMap: REFUSED_MAP });
  assert.deepEqual(
    found.map(({ what }) => what),
    ['id maps'],
  );
  assert.match(found[0]?.message ?? '', /\((EPERM|EINVAL)\)$/);
});

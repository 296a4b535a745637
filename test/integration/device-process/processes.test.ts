/** Device processes as main has them made: what /proc says of each, and what main learns when one goes wrong. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { balloon } from '#devices/virtio/balloon/balloon.ts';
import { block } from '#devices/virtio/block/block.ts';
import { fs } from '#devices/virtio/fs/fs.ts';
import { input } from '#devices/virtio/input/input.ts';
import { pmem } from '#devices/virtio/pmem/pmem.ts';
import { rng } from '#devices/virtio/rng/rng.ts';
import { probeJail } from '#jail/probe.ts';
import { returnValue } from '#jail/seccomp/action.ts';
import { Code, encode } from '#jail/seccomp/bpf.ts';
import { kill, Signal } from '#sys/signal.ts';
import { Policies } from '#vmm/policies.ts';
import { runs, type View, viewOf } from '../jail/observe.ts';
import { isRoot, NOBODY } from '../jail/run-scenario.ts';
import type { TestMachine } from './machine.ts';
import { pssKib, RunningDevices } from './running.ts';

const limit = { timeout: 60_000 };
const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;
/** The processes are not dumpable, so their own user cannot look into them. */
const skipViews = hostRefuses || (isRoot ? false : 'only root can look into a process that is not dumpable');
/** Of all kinds of today's kernels but `time`, which jails do not unshare: it only sets clocks off. */
const UNSHARED = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts', 'user'];
const SETS = ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'];
const DEVICES = [
  { name: 'rng', id: 0x1044, queueCount: rng.queueSizes.length },
  { name: 'block0', id: 0x1042, queueCount: block.queueSizes.length },
  { name: 'fs0', id: 0x105a, queueCount: fs.queueSizes.length },
  { name: 'input0', id: 0x1052, queueCount: input.queueSizes.length },
  { name: 'pmem0', id: 0x105b, queueCount: pmem.queueSizes.length },
  { name: 'balloon', id: 0x1045, queueCount: balloon.queueSizes.length },
] as const;
type Device = (typeof DEVICES)[number];
const EMPTY_MOUNT = / \/ \/ ro,nosuid,nodev,noexec\S* - tmpfs /;
const SHARED_MOUNT = /\/crosvm-device-process-\w+\/shared \/ rw,nosuid,nodev,noexec/;

/** What a device's descriptors lead to, sorted; numbers of inodes left out. */
function leadsTo({ fds }: View): string[] {
  return Object.values(fds)
    .map((link) => link.replace(/:\[\d+\]$/, '').replace(/^\/proc\/\d+\//, '/proc/PID/'))
    .sort();
}

/** What a device has of its own. */
function ownDescriptors({ name }: Device, machine: TestMachine, sandbox: boolean): string[] {
  // The way to open what it has a path handle of: without a jail in the host's /proc, with one in a mount of its own.
  const fds = sandbox ? ['/'] : [machine.sharedPath, '/proc/PID/fd'];
  return {
    rng: ['/dev/urandom'],
    block0: [machine.diskPath, 'socket'],
    fs0: fds,
    input0: ['socket'],
    pmem0: [machine.pmemPath],
    balloon: ['socket'],
  }[name];
}

/** What a device needs, and nothing else. */
function expectedDescriptors(device: Device, machine: TestMachine, sandbox: boolean): string[] {
  const { queueCount } = device;
  const vectorCount = queueCount + 1;
  return [
    // Standard input, output and error, and the eventfds of libuv's.
    ...Array(6).fill('/dev/null'),
    // One a queue; an eventfd a vector and the duplicate that goes to main; one that asserts INTx and one that tells of its end.
    ...Array(queueCount + 2 * vectorCount + 2).fill('anon_inode:[eventfd]'),
    // The device's loop, and that of the workers.
    ...Array(2).fill('anon_inode:[eventpoll]'),
    // The bus, the interrupts and the reports.
    ...Array(3).fill('socket'),
    '/memfd:guest-ram (deleted)',
    ...ownDescriptors(device, machine, sandbox),
  ].sort();
}

/** The warden's own, which keeps its memory forkable. */
const WARDEN_FILTERS = 1;
const filtersOf = ({ status }: View): number => Number(status['Seccomp_filters']);

const namespacesOf = ({ namespaces }: View): (string | undefined)[] => UNSHARED.map((name) => namespaces[name]);

/** What a host does that has no listener for denied calls: the first call that a device makes in its filter ends it. */
class KillingPolicies extends Policies {
  override device(): Uint8Array {
    return encode([{ code: Code.RETURN, jt: 0, jf: 0, k: returnValue('kill-process') }]);
  }
}

/** Without its own user namespace an ordinary user's process keeps its bounding set, of which no exec gives it anything. */
function checkPrivileges({ status }: View, isJailed: boolean): void {
  for (const set of isJailed || isRoot ? [...SETS, 'CapBnd'] : SETS) assert.equal(Number(`0x${status[set]}`), 0, set);
  assert.deepEqual([status['NoNewPrivs'], status['Threads']], ['1', '1']);
}

describe('a device process in its jail', { skip: skipViews, ...limit }, () => {
  for (const device of DEVICES) {
    test(`${device.name}: shares no namespace, has a filter, no privilege, no file and the descriptors that it needs`, (t) => {
      const started = performance.now();
      using running = new RunningDevices({ sandbox: true });
      assert.equal(running.proxy(device.name).readConfigRegister(0), device.id * 2 ** 16 + 0x1af4);
      const ms = performance.now() - started;
      const pid = running.process(device.name);
      const [view, own] = [viewOf(pid), viewOf(process.pid)];
      t.diagnostic(`warden started, both devices forked, ${device.name} has answered: ${ms.toFixed(0)} ms`);
      t.diagnostic(`Pss: ${pssKib(pid)} KiB`);
      const shared = namespacesOf(view).filter((link) => link === undefined || namespacesOf(own).includes(link));
      assert.deepEqual(shared, []);
      checkPrivileges(view, true);
      assert.equal(view.status['Seccomp'], '2');
      assert.equal(filtersOf(view), filtersOf(own) + WARDEN_FILTERS + 1);
      const isFs = device.name === 'fs0';
      assert.equal(
        view.status['Uid'],
        Array(4)
          .fill(isFs ? 0 : NOBODY)
          .join('\t'),
      );
      assert.equal(view.status['NSpid']?.split(/\s+/).at(-1), '1');
      assert.deepEqual(view.rootEntries, isFs ? ['file'] : []);
      assert.equal(view.mounts.length, 1);
      assert.match(view.mounts[0] ?? '', isFs ? SHARED_MOUNT : EMPTY_MOUNT);
      assert.deepEqual(leadsTo(view), expectedDescriptors(device, running.machine, true));
      assert.deepEqual(running.failures, []);
    });
  }
});

describe('a device process without its jail', limit, () => {
  for (const device of DEVICES) {
    test(`${device.name}: has no privilege and the descriptors that it needs all the same`, () => {
      using running = new RunningDevices({ sandbox: false });
      assert.equal(running.proxy(device.name).readConfigRegister(0), device.id * 2 ** 16 + 0x1af4);
      const view = viewOf(running.process(device.name));
      checkPrivileges(view, false);
      assert.deepEqual(namespacesOf(view), namespacesOf(viewOf(process.pid)));
      assert.equal(filtersOf(view), filtersOf(viewOf(process.pid)) + WARDEN_FILTERS);
      assert.deepEqual(leadsTo(view), expectedDescriptors(device, running.machine, false));
    });
  }
});

for (const { how, sandbox, skip } of [
  { how: 'in its jail', sandbox: true, skip: hostRefuses },
  { how: 'without a jail', sandbox: false, skip: false as const },
]) {
  describe(`a device process that goes wrong, ${how}`, { skip, ...limit }, () => {
    for (const { name } of DEVICES.filter((device) => device.name !== 'pmem0')) {
      test(`${name}: its death is told with the signal, and it reads as all ones`, () => {
        using running = new RunningDevices({ sandbox });
        const proxy = running.proxy(name);
        assert.notEqual(proxy.readConfigRegister(0), 0xffff_ffff);
        kill(running.process(name), Signal.SIGKILL);
        assert.equal(running.failure(), `${name}: its process ended: killed by SIGKILL`);
        assert.equal(proxy.readConfigRegister(0), 0xffff_ffff);
        assert.deepEqual(running.failures, [`${name}: its process is gone`]);
      });

      test(`${name}: one that hangs is given up with its name, and the other goes on`, () => {
        using running = new RunningDevices({ sandbox });
        const [started, other] = [running.proxy(name), running.proxy(name === 'rng' ? 'block0' : 'rng')];
        const before = [started, other].map((each) => each.readConfigRegister(0));
        assert.ok(!before.includes(0xffff_ffff));
        kill(running.process(name), Signal.SIGSTOP);
        assert.equal(running.proxy(name, 100).readConfigRegister(0), 0xffff_ffff);
        assert.deepEqual(running.failures, [`${name}: its process has not answered for 0.1 s`]);
        assert.equal(other.readConfigRegister(0), before[1]);
      });
    }

    if (sandbox) {
      test('one that the kernel kills for a call is told with the policy and where the call is logged', () => {
        using running = new RunningDevices({ sandbox, policies: new KillingPolicies({ seccompLogFailures: false }) });
        const told =
          /^(\w+): its process ended: killed by SIGSYS: it made a system call that \w+_device\.policy forbids; the kernel's log or audit log says which \(type=1326, comm="\1", syscall=NUMBER\)$/;
        assert.match(running.failure() ?? '', told);
      });
    } else {
      test('one that SIGSYS kills has no policy to tell of', () => {
        using running = new RunningDevices({ sandbox });
        running.proxy('block0').readConfigRegister(0);
        kill(running.process('block0'), Signal.SIGSYS);
        assert.equal(running.failure(), 'block0: its process ended: killed by SIGSYS');
      });
    }

    test('the death of the warden is told, and ends every device', () => {
      using running = new RunningDevices({ sandbox });
      const pids = DEVICES.map(({ name }) => {
        running.proxy(name).readConfigRegister(0);
        return running.process(name);
      });
      kill(running.warden, Signal.SIGKILL);
      assert.equal(running.failure(), 'the warden process has ended');
      const deadlineMs = performance.now() + 20_000;
      while (pids.some(runs) && performance.now() < deadlineMs);
      assert.deepEqual(pids.filter(runs), []);
    });
  });
}

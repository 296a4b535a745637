/** The main process's own walls while a guest runs: what /proc says of each of its threads, and what a policy does to it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { probeJail } from '#jail/probe.ts';
import { Fd } from '#sys/fd.ts';
import { connectUnix, SocketType, socket } from '#sys/socket.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { statusOf } from '../jail/observe.ts';
import { code, TinyGuest, tinyKernel } from './tiny-guest.ts';

const limit = { timeout: 60_000 };
const CROSVM = resolve(import.meta.dirname, '../../../src/cli/main.ts');
const POLICIES = resolve(import.meta.dirname, '../../../seccomp/x86_64');
const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-walls-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function diskImage(t: TestContext): string {
  const path = join(temporaryFolder(t), 'disk');
  writeFileSync(path, new Uint8Array(1 << 20));
  return path;
}

/** A copy of the policies in which a file is changed. */
function changedPolicies(t: TestContext, file: string, change: (text: string) => string): string {
  const folder = join(temporaryFolder(t), 'policies');
  cpSync(POLICIES, folder, { recursive: true });
  const path = join(folder, file);
  writeFileSync(path, change(readFileSync(path, 'utf8')));
  return folder;
}

const threadsOf = (pid: number): Record<string, string>[] =>
  readdirSync(`/proc/${pid}/task`).map((thread) => statusOf(`${pid}/task/${thread}`));

const NO_CAPABILITIES = '0'.repeat(16);

describe('while the guest runs', limit, () => {
  for (const { machine, options, skip } of [
    { machine: 'a machine without device processes', options: () => [], skip: false as const },
    {
      machine: 'a machine with a disk',
      options: (t: TestContext) => [`--block=path=${diskImage(t)}`],
      skip: hostRefuses,
    },
  ]) {
    test(`every thread of main of ${machine} has no capability and a filter`, { skip, ...limit }, async (t) => {
      await using guest = new TinyGuest([code.print('up'), code.haltForever], options(t));
      await guest.printed('up');
      const threads = threadsOf(guest.child.pid ?? 0);
      t.diagnostic(`${threads.length} threads: ${threads.map((thread) => thread['Name']).join(' ')}`);
      assert.ok(threads.length >= 2, 'the main thread and a vCPU at least');
      // The bounding set is an ordinary user's to keep: without new privileges nothing comes of it.
      const sets = ['CapInh', 'CapPrm', 'CapEff', 'CapAmb', ...(process.getuid?.() === 0 ? ['CapBnd'] : [])];
      for (const thread of threads) {
        const name = thread['Name'] ?? '';
        for (const set of sets) assert.equal(thread[set], NO_CAPABILITIES, `${set} of ${name}`);
        assert.deepEqual([thread['NoNewPrivs'], thread['Seccomp']], ['1', '2'], name);
      }
    });
  }

  test('with --disable-sandbox no thread of main has a filter', limit, async () => {
    await using guest = new TinyGuest([code.print('up'), code.haltForever], ['--disable-sandbox']);
    await guest.printed('up');
    for (const thread of threadsOf(guest.child.pid ?? 0)) {
      assert.deepEqual([thread['NoNewPrivs'], thread['Seccomp']], ['0', '0'], thread['Name'] ?? '');
    }
  });
});

describe("a call that main's policy does not have", limit, () => {
  const withoutAccept = (text: string): string => text.replace(/^accept4: 1\n/m, '');

  async function startWithoutAccept(t: TestContext, options: readonly string[]): Promise<TinyGuest> {
    const socketPath = join(temporaryFolder(t), 'socket');
    const policies = changedPolicies(t, 'main.policy', withoutAccept);
    const argv = [`--socket=${socketPath}`, `--seccomp-policy-dir=${policies}`, ...options];
    const guest = new TinyGuest([code.print('up'), code.echoUntilQ, code.print('on'), code.haltForever], argv);
    await guest.printed('up');
    using client = new Fd(socket(SocketType.SEQPACKET));
    connectUnix(client.fd, socketPath);
    return guest;
  }

  test('kills it, with a line that names the thread and the call', limit, async (t) => {
    await using guest = await startWithoutAccept(t, []);
    const ended = await guest.end();
    assert.deepEqual([ended.status, ended.signal], [null, 'SIGSYS'], ended.errors);
    assert.match(
      ended.errors,
      /^crosvm: the main thread called accept4, which main\.policy forbids: killed by SIGSYS; .*--seccomp-log-failures.*$/m,
    );
  });

  test('is named with the vCPU thread that makes it', { skip: hostRefuses, ...limit }, async (t) => {
    const policies = changedPolicies(t, 'main.policy', (text) => text.replace(/^sendmsg: 1\n/m, ''));
    const argv = [`--block=path=${diskImage(t)}`, `--seccomp-policy-dir=${policies}`];
    await using guest = new TinyGuest([code.readPciDevice(1), code.haltForever], argv);
    const ended = await guest.end();
    assert.deepEqual([ended.status, ended.signal], [null, 'SIGSYS'], ended.errors);
    assert.match(ended.errors, /^crosvm: vCPU thread vcpu0 called sendmsg, which main\.policy forbids: /m);
  });

  test('fails with --seccomp-log-failures, and the machine goes on', limit, async (t) => {
    await using guest = await startWithoutAccept(t, ['--seccomp-log-failures']);
    guest.child.stdin.write('q');
    await guest.printed('on');
    guest.child.kill('SIGTERM');
    const ended = await guest.end();
    assert.deepEqual([ended.status, ended.signal], [143, null], ended.errors);
  });
});

describe("a call that a device's policy does not have", { skip: hostRefuses, ...limit }, () => {
  /** The entropy device's own is all of the common one but the wait of its loop. */
  function policiesWithoutWait(t: TestContext): string {
    const folder = changedPolicies(t, 'rng_device.policy', () => '');
    const common = readFileSync(join(folder, 'common_device.policy'), 'utf8');
    writeFileSync(join(folder, 'rng_device.policy'), common.replace(/^epoll_p?wait: 1\n/gm, ''));
    return folder;
  }

  test('kills its process and ends the machine, with the names of the device and the call', limit, async (t) => {
    const argv = [`--block=path=${diskImage(t)}`, `--seccomp-policy-dir=${policiesWithoutWait(t)}`];
    await using guest = new TinyGuest([code.haltForever], argv);
    const { status, errors } = await guest.end();
    assert.equal(status, EXIT_CODES['host-error'], errors);
    const line =
      /^crosvm: rng: its process ended: killed by SIGSYS: it called epoll_p?wait, which rng_device\.policy forbids$/m;
    assert.match(errors, line);
  });

  test('fails with --seccomp-log-failures, which tells of it', limit, async (t) => {
    const argv = [`--block=path=${diskImage(t)}`, `--seccomp-policy-dir=${policiesWithoutWait(t)}`];
    await using guest = new TinyGuest([code.haltForever], [...argv, '--seccomp-log-failures']);
    const { status, errors } = await guest.end();
    assert.equal(status, EXIT_CODES['host-error'], errors);
    assert.match(errors, /^crosvm: error: rng: rng_device\.policy forbids epoll_p?wait: the call failed$/m);
    // Its loop cannot do without.
    assert.match(errors, /^crosvm: rng: its process ended: exit status 101$/m);
  });
});

describe('a jail that the host refuses ends the start, and is told with what to do', limit, () => {
  const asUser = ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--keep-caps'];
  const noNamespaces = ['sh', '-c', 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', 'sh'];
  const noCapabilities = ['setpriv', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];

  for (const { where, around, message } of [
    {
      where: 'without user namespaces',
      around: [...asUser, ...noNamespaces, ...noCapabilities],
      message:
        /^crosvm: \w+ cannot be jailed: user namespace: .*ENOSPC.*; set user\.max_user_namespaces above 0.*--disable-sandbox$/m,
    },
    {
      where: 'for root without capabilities',
      around: noCapabilities,
      message:
        /^crosvm: \w+ cannot be jailed: id maps: .*EPERM.*; .*as root with CAP_SETUID and CAP_SETGID.*--disable-sandbox$/m,
    },
  ]) {
    const [program = '', ...parameters] = around;
    const isPossible = process.getuid?.() === 0 && spawnSync(program, [...parameters, 'true']).status === 0;
    const skip = isPossible ? hostRefuses : 'only root can take these away here';
    test(where, { skip, ...limit }, (t) => {
      const kernel = join(temporaryFolder(t), 'kernel');
      writeFileSync(kernel, tinyKernel([code.print('up'), code.powerOff, code.spin]));
      const run = [
        process.execPath,
        CROSVM,
        'run',
        '--mem=32',
        '--hypervisor=software',
        `--block=path=${diskImage(t)}`,
      ];
      const ended = spawnSync(program, [...parameters, ...run, kernel], { encoding: 'utf8' });
      assert.deepEqual([ended.status, ended.stdout], [EXIT_CODES['host-error'], ''], ended.stderr);
      assert.match(ended.stderr, message);
    });
  }
});

describe('--seccomp-policy-dir', limit, () => {
  test(
    'mistakes of its policies are reported together, with file and line, before anything starts',
    limit,
    async (t) => {
      const folder = changedPolicies(t, 'main.policy', (text) => `${text}nosuchcall: 1\nread: 1\n`);
      writeFileSync(join(folder, 'rng_device.policy'), '@include common_device.policy\nfrobnicate: 1\n');
      await using guest = new TinyGuest([code.print('up')], [`--seccomp-policy-dir=${folder}`]);
      const { status, output, errors } = await guest.end();
      assert.deepEqual([status, output], [EXIT_CODES['bad-arguments'], '']);
      assert.match(errors, /^crosvm: --seccomp-policy-dir: .*main\.policy:\d+: .*nosuchcall/m);
      assert.match(errors, /^crosvm: --seccomp-policy-dir: .*main\.policy:\d+: read has a rule already/m);
      assert.match(errors, /^crosvm: --seccomp-policy-dir: .*rng_device\.policy:2: .*frobnicate/m);
    },
  );

  test('a policy that is missing is a mistake', limit, async (t) => {
    const folder = changedPolicies(t, 'main.policy', (text) => text);
    rmSync(join(folder, 'block_device.policy'));
    const argv = [`--block=path=${diskImage(t)}`, `--seccomp-policy-dir=${folder}`];
    await using guest = new TinyGuest([code.print('up')], argv);
    const { status, output, errors } = await guest.end();
    assert.deepEqual([status, output], [EXIT_CODES['bad-arguments'], ''], errors);
    assert.match(errors, /^crosvm: --seccomp-policy-dir: .*block_device\.policy: cannot read the policy/m);
  });

  test('a folder that is none is a mistake', limit, async () => {
    await using guest = new TinyGuest([code.print('up')], ['--seccomp-policy-dir=/nonexistent']);
    const { status, errors } = await guest.end();
    assert.equal(status, EXIT_CODES['bad-arguments']);
    assert.match(errors, /^crosvm: --seccomp-policy-dir: \/nonexistent\/main\.policy: cannot read the policy/m);
  });
});

/**
 * Escapes from inside: each attempt of attempts.ts in a process of each kind of device, with its own jail and policy; with the
 * jail alone, to see what holds if the filter had a hole; and with neither, to see that the attempts are made as they should be.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { after, before, describe, test } from 'node:test';
import type { JailConfig } from '#jail/jail-config.ts';
import { probeJail } from '#jail/probe.ts';
import { type DeviceRequest, type RequestedDevice, Warden, type WardenEvent } from '#jail/warden.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { Signal } from '#sys/signal.ts';
import { createDevices } from '#vmm/devices/create-devices.ts';
import { ATTEMPTS, type Attempt } from './attempts.ts';
import { TestMachine } from './machine.ts';
import { KINDS, type Kind, MADE, ORDERS, PrisonSerial } from './orders.ts';

const ENTRY = new URL('escape-entry.ts', import.meta.url);
/** Its own descriptor is the socket of its input. */
const SERIAL = { hardware: 'serial', num: 1, type: 'sink', console: false, stdin: true, jail: true } as const;
const CONSOLE = { hardware: 'virtio-console', num: 1, type: 'sink', console: false, stdin: true } as const;
const TIMEOUT_MS = 20_000;
type Verdict = 'killed' | 'allowed' | `refused ${string}` | `ended ${string}`;
/** Around a device: all, the jail without the filter, nothing. */
type Walls = 'jail and filter' | 'jail alone' | 'none';

interface Survived {
  /** The verdict for each kind of device. */
  readonly verdicts: Readonly<Record<Kind, Verdict>>;
  /** Why the filter lets the call through, and why that is no way out. */
  readonly why: string;
}

const all = (verdict: Verdict, why: string, changes: Partial<Record<Kind, Verdict>> = {}): Survived => ({
  verdicts: { ...(Object.fromEntries(KINDS.map((kind) => [kind, verdict])) as Record<Kind, Verdict>), ...changes },
  why,
});
/** The others are killed. */
const only = (verdicts: Partial<Record<Kind, Verdict>>, why: string): Survived => all('killed', why, verdicts);

/**
 * What balloon, console, keyboard and serial port have first of their own is no file but a socket: they say to its other end what they may say anyway. The
 * file system device has nothing.
 */
const ofSockets = (verdict: Verdict): Partial<Record<Kind, Verdict>> => ({
  console: verdict,
  input: verdict,
  balloon: verdict,
  serial: verdict,
});

/** The attempts that a jailed device survives. All others are of calls that its policy does not have. */
const SURVIVED: Readonly<Record<string, Survived>> = {
  'openat2 /': only({ fs: 'allowed' }, 'that is the shared directory'),
  ...Object.fromEntries(
    [
      'openat2 /etc/passwd',
      'openat2 /proc/self/mem',
      'openat2 from / upwards',
      'openat2 from any descriptor upwards',
      'openat2 from any descriptor to the memory of its process',
      'openat2 of a link to /etc/passwd',
    ].map((name) => [
      name,
      only({ fs: 'refused ENOENT' }, 'the root is the shared directory, and nothing is above it'),
    ]),
  ),
  'make a device': only({ fs: 'refused EPERM' }, 'it has no CAP_MKNOD, and its mount no devices'),
  'make a file of another owner': only({ fs: 'refused EINVAL' }, 'its user namespace has one user'),
  'list a directory': only({ fs: 'refused EBADF' }, 'directories are listed; it has been given none'),
  'shrink the guest memory': only(
    { block: 'refused EPERM', fs: 'refused EPERM' },
    'images and files are cut; the memory is sealed',
  ),
  'grow the guest memory': only(
    { block: 'refused EPERM', fs: 'refused EPERM' },
    'images and files grow; the memory is sealed',
  ),
  'truncate what is open for reading': only(
    { block: 'refused EINVAL', fs: 'refused EBADF' },
    'an image that grows is truncated; main opened this for reading; files are cut, and it has been given none',
  ),
  'allocate space': only({ fs: 'refused EBADF' }, 'files are allocated; it has been given none'),
  'write to what is open for reading': all(
    'refused EBADF',
    'eventfds are written; main opened this for reading',
    ofSockets('allowed'),
  ),
  'pwrite to what is open for reading': only(
    { block: 'refused EBADF' },
    'images are written; main opened this for reading',
  ),
  'punch a hole into what is open for reading': only(
    { block: 'refused EBADF', fs: 'refused EBADF' },
    'images get holes; main opened this for reading',
  ),
  'map what is open for reading, to be written': all('refused EACCES', 'V8 maps memory; main opened this for reading', {
    ...ofSockets('refused ENODEV'),
    fs: 'refused EBADF',
  }),
  'open more than 1024 descriptors': all('refused EMFILE', 'a queue that is activated has an epoll; the limit holds', {
    fs: 'allowed',
  }),
  'abort another process': all('refused ESRCH', 'abort(3) sends SIGABRT; the pid namespace has no other process'),
  'machine code in pages of V8': all(
    'allowed',
    'V8 keeps its code writable: whoever writes anywhere can run code of his own, which makes no other calls',
  ),
  'JavaScript from text': all('allowed', 'the process runs JavaScript, which makes no other calls'),
};

/** Inside of its jail the file system device has this number already, which stands for the user that runs crosvm. */
const NOTHING_NEW_TO_FS: readonly string[] = ['setuid 0', 'setresgid 0'];

/** What the jail refuses without the help of the filter: all that leads to other processes, files and the network. */
const HELD_BY_THE_JAIL: readonly string[] = [
  'open /proc/self/mem',
  'open the memory of another process',
  'open /dev/null',
  'open /etc/passwd',
  'openat2 /etc/passwd',
  'openat2 /proc/self/mem',
  'openat2 from / upwards',
  'openat2 from any descriptor upwards',
  'openat2 from any descriptor to the memory of its process',
  'readlink /proc/self/exe',
  'chroot',
  'unlink',
  'shrink the guest memory',
  'grow the guest memory',
  'seal the guest memory',
  'truncate what is open for reading',
  'write to what is open for reading',
  'map what is open for reading, to be written',
  'fcntl F_SETOWN another process',
  'socket AF_PACKET',
  'connect over TCP',
  'kill another process',
  'pidfd_open of another process',
  'process_vm_readv',
  'process_vm_writev',
  'kcmp',
  'get_robust_list of another process',
  'fsopen',
  'open_tree',
  'mount_setattr',
  'unshare the mounts',
  'setuid 0',
  'setresgid 0',
  'setgroups',
  'capset',
  'prctl: ambient capabilities',
  'prlimit of another process',
  'raise a limit',
  'syslog',
];

const refusals = probeJail();
const skip = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

const errnoName = (errno: number): string =>
  Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;

/** A warden that gives the serial port, too, the guest memory, where it finds what to attempt. */
class PrisonWarden extends Warden {
  regions: GuestMemory['regions'] = [];

  override request(device: DeviceRequest, fds: readonly number[] = []): RequestedDevice {
    if (device.device !== 'serial') return super.request(device, fds);
    const parameters = encodeBytes(PrisonSerial, { own: device.parameters, regions: this.regions });
    return super.request({ ...device, usesGuestMemory: true, parameters }, fds);
  }
}

/** One that leaves the filter away. */
class FilterlessWarden extends PrisonWarden {
  override request(device: DeviceRequest, fds: readonly number[] = []): RequestedDevice {
    const { seccomp: _, ...jail }: JailConfig = device.jail;
    return super.request({ ...device, jail }, fds);
  }
}

/** Devices that make one attempt after the other. */
class Prison implements Disposable {
  readonly #owned = new DisposableStack();
  readonly #machine = this.#owned.use(
    new TestMachine({ wanted: (machine) => ({ serial: [CONSOLE, SERIAL], inputs: [machine.keyboard()] }) }),
  );
  readonly #warden: PrisonWarden;
  readonly #walls: Walls;

  constructor(walls: Walls) {
    this.#walls = walls;
    const start = { entry: ENTRY, guestMemoryFd: this.#machine.memory.fd };
    this.#warden = this.#owned.use(walls === 'jail alone' ? new FilterlessWarden(start) : new PrisonWarden(start));
    this.#warden.regions = this.#machine.memory.regions;
  }

  attempt(attempt: Attempt, victim: number): Record<Kind, Verdict> {
    using owned = new DisposableStack();
    const { memory } = this.#machine;
    memory.writeU32(ORDERS.ATTEMPT, ATTEMPTS.indexOf(attempt));
    memory.writeU32(ORDERS.VICTIM, victim);
    const options = this.#machine.options({ sandbox: this.#walls !== 'none', readOnly: true, pmem: true });
    const { devices } = createDevices({ ...options, warden: this.#warden }, owned);
    const ends = this.#awaitEnds(devices.length);
    const verdicts = KINDS.map((kind, index) => {
      const event = ends.get(devices[index]?.id ?? 0);
      return [kind, verdictOf(event, memory.readU32(ORDERS.RESULT[kind]) | 0)];
    });
    return Object.fromEntries(verdicts) as Record<Kind, Verdict>;
  }

  #awaitEnds(count: number): Map<number, WardenEvent> {
    const ends = new Map<number, WardenEvent>();
    while (ends.size < count) {
      const event = this.#warden.nextEvent(TIMEOUT_MS);
      assert.ok(event !== undefined, 'a device has neither made its attempt nor ended');
      assert.notEqual(event.kind, 'notJailed', JSON.stringify(event));
      if (event.kind === 'ended') ends.set(event.id, event);
    }
    return ends;
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

function verdictOf(event: WardenEvent | undefined, result: number): Verdict {
  assert.ok(event?.kind === 'ended');
  const { status } = event;
  if ('signal' in status) return status.signal === Signal.SIGSYS ? 'killed' : `ended by signal ${status.signal}`;
  if (status.exitCode !== MADE) return `ended with status ${status.exitCode}`;
  return result < 0 ? `refused ${errnoName(-result)}` : 'allowed';
}

/** The verdicts by attempt. */
function judge(walls: Walls, attempts: readonly Attempt[], victim: number): Map<string, Record<Kind, Verdict>> {
  using prison = new Prison(walls);
  return new Map(attempts.map((attempt) => [attempt.name, prison.attempt(attempt, victim)]));
}

function table(verdicts: ReadonlyMap<string, Record<Kind, Verdict>>): string {
  const row = (name: string, cells: readonly string[]): string =>
    [name.padEnd(50), ...cells.map((cell) => cell.padEnd(16))].join(' ').trimEnd();
  const rows = [...verdicts].map(([name, byKind]) =>
    row(
      name,
      KINDS.map((kind) => byKind[kind]),
    ),
  );
  return [row('attempt', KINDS), ...rows].join('\n');
}

describe('a way out of a device process', { skip, timeout: 300_000 }, () => {
  let victim: ChildProcess;
  const pid = (): number => {
    assert.ok(victim.pid !== undefined);
    return victim.pid;
  };
  before(() => {
    victim = spawn('sleep', ['600'], { stdio: 'ignore' });
  });
  after(() => {
    victim.kill('SIGKILL');
  });

  test('is closed: every attempt is made with a call that kills, or comes to nothing for a reason that is listed', (t) => {
    const verdicts = judge('jail and filter', ATTEMPTS, pid());
    t.diagnostic(table(verdicts));
    const expected = ATTEMPTS.map(({ name }) => [name, (SURVIVED[name] ?? all('killed', '')).verdicts]);
    assert.deepEqual([...verdicts], expected);
    assert.equal(victim.exitCode ?? victim.signalCode, null, 'the other process lives');
  });

  test('stays closed without the filter where it leads to processes, files or the network', (t) => {
    const attempts = ATTEMPTS.filter(({ onlyFiltered }) => onlyFiltered !== true);
    const verdicts = judge('jail alone', attempts, pid());
    t.diagnostic(table(verdicts));
    const isHeld = (name: string): boolean => {
      const byKind = verdicts.get(name);
      const holds = (kind: Kind): boolean =>
        byKind?.[kind].startsWith('refused') === true ||
        SURVIVED[name]?.verdicts[kind] === 'allowed' ||
        (kind === 'fs' && NOTHING_NEW_TO_FS.includes(name));
      return byKind !== undefined && KINDS.every(holds);
    };
    assert.deepEqual(HELD_BY_THE_JAIL.filter(isHeld), HELD_BY_THE_JAIL);
  });

  test('is open without the jail: the attempts are made as they should be', (t) => {
    const attempts = ATTEMPTS.filter(({ succeedsFree }) => succeedsFree === true);
    const verdicts = judge('none', attempts, pid());
    t.diagnostic(table(verdicts));
    assert.deepEqual(
      [...verdicts],
      attempts.map(({ name }) => [name, all('allowed', '').verdicts]),
    );
  });
});

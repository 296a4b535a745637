/** What /proc shows of the device processes of a machine that runs. */
import assert from 'node:assert/strict';
import { childrenOfThreads, statusOf, type View, viewOf } from '../integration/jail/observe.ts';

/** Of all kinds of today's kernels but `time`, which jails do not unshare: it only sets clocks off. */
const UNSHARED = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts', 'user'];
const CAPABILITY_SETS = ['CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'CapBnd'];

/** What every device has: standard streams and libuv's, the guest's memory, its bus, its interrupts, its reports. */
const COMMON = [...Array(6).fill('/dev/null'), '/memfd:guest-ram (deleted)', 'socket', 'socket', 'socket'];
/** Kicks, vectors and loops: their numbers are asked in test/integration/device-process. */
const EVENTS = /^anon_inode:\[event(fd|poll)\]$/;

export interface ExpectedDevice {
  readonly name: string;
  /** What its descriptors lead to besides: files by their path, sockets as `socket`. */
  readonly own: readonly string[];
}

/**
 * Every device of the machine, each in one process: `expected` is the whole list. In a jail it has namespaces of its own, a filter, no
 * privilege and no file; without one it has no privilege. It has the descriptors that it needs and no others.
 */
export function checkDeviceProcesses(machine: number, expected: readonly ExpectedDevice[], isJailed: boolean): void {
  const warden = childrenOfThreads(machine).find((pid) => statusOf(pid)['Name'] === statusOf(machine)['Name']);
  assert.ok(warden !== undefined, 'the warden runs');
  const found = new Map(childrenOfThreads(warden).map((pid) => [statusOf(pid)['Name'] ?? '', pid]));
  assert.deepEqual([...found.keys()].sort(), expected.map(({ name }) => name).sort());
  const main = viewOf(machine);
  for (const device of expected) {
    // In a jail the process that the warden made only waits for the device's.
    const first = found.get(device.name) ?? 0;
    const view = viewOf(isJailed ? (childrenOfThreads(first)[0] ?? 0) : first);
    assert.deepEqual(leadsTo(view), [...COMMON, ...device.own].sort(), device.name);
    checkPrivileges(device.name, view);
    if (isJailed) checkJail(device.name, view, main);
  }
}

function leadsTo({ fds }: View): string[] {
  return Object.values(fds)
    .filter((link) => !EVENTS.test(link))
    .map((link) => link.replace(/:\[\d+\]$/, ''))
    .sort();
}

function checkPrivileges(name: string, { status }: View): void {
  for (const set of CAPABILITY_SETS) assert.equal(Number(`0x${status[set]}`), 0, `${name}: ${set}`);
  assert.equal(status['NoNewPrivs'], '1', name);
}

function checkJail(name: string, { status, namespaces, rootEntries, mounts }: View, main: View): void {
  const shared = UNSHARED.filter(
    (kind) => namespaces[kind] === undefined || namespaces[kind] === main.namespaces[kind],
  );
  assert.deepEqual(shared, [], `${name}: namespaces`);
  assert.equal(status['Seccomp'], '2', name);
  // The warden's own and the device's.
  assert.equal(Number(status['Seccomp_filters']), Number(main.status['Seccomp_filters']) + 2, name);
  assert.deepEqual(rootEntries, [], name);
  assert.equal(mounts.length, 1, name);
}

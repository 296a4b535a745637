/** What /proc shows of the device processes of a machine that runs. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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
  /** What its descriptors lead to besides: files by their path, sockets as `socket`, a process's folder as `/proc/PID`. */
  readonly own: readonly string[];
  /** Files in the root of its jail. */
  readonly rootEntries?: readonly string[];
}

/**
 * Every device of the machine, each in one process: `expected` is the whole list. In a jail it has namespaces of its own, a filter, no
 * privilege and no file but what it shares; without one it has no privilege. It has the descriptors that it needs and no others. The
 * threads of main have walls too, unless there are no jails.
 */
export function checkDeviceProcesses(machine: number, expected: readonly ExpectedDevice[], isJailed: boolean): void {
  const warden = childrenOfThreads(machine).find((pid) => statusOf(pid)['Name'] === statusOf(machine)['Name']);
  assert.ok(warden !== undefined, 'the warden runs');
  const found = new Map(childrenOfThreads(warden).map((pid) => [statusOf(pid)['Name'] ?? '', pid]));
  assert.deepEqual([...found.keys()].sort(), expected.map(({ name }) => name).sort());
  const main = viewOf(machine);
  checkMain(main, machine, isJailed);
  for (const device of expected) {
    const view = viewOf(found.get(device.name) ?? 0);
    assert.deepEqual(leadsTo(view), [...COMMON, ...device.own].sort(), device.name);
    checkPrivileges(device.name, view);
    if (isJailed) checkJail(device, view, main);
  }
}

const filtersOf = (status: View['status']): number => Number(status['Seccomp_filters']);

function leadsTo({ fds }: View): string[] {
  return Object.values(fds)
    .filter((link) => !EVENTS.test(link))
    .map((link) => link.replace(/:\[\d+\]$/, '').replace(/^\/proc\/\d+\//, '/proc/PID/'))
    .sort();
}

function checkPrivileges(name: string, { status }: View): void {
  for (const set of CAPABILITY_SETS) assert.equal(Number(`0x${status[set]}`), 0, `${name}: ${set}`);
  assert.equal(status['NoNewPrivs'], '1', name);
}

function checkMain({ status }: View, machine: number, isJailed: boolean): void {
  const threads = readdirSync(`/proc/${machine}/task`).map((thread) => statusOf(`${machine}/task/${thread}`));
  assert.ok(threads.length >= 2, 'the main thread and a vCPU at least');
  for (const thread of threads) {
    const name = `${status['Name']}: ${thread['Name']}`;
    assert.deepEqual([thread['NoNewPrivs'], thread['Seccomp']], isJailed ? ['1', '2'] : ['0', '0'], name);
    if (!isJailed) continue;
    for (const set of CAPABILITY_SETS) assert.equal(Number(`0x${thread[set]}`), 0, `${name}: ${set}`);
  }
}

function checkJail(device: ExpectedDevice, view: View, main: View): void {
  const { name, rootEntries: expectedEntries = [] } = device;
  const { status, namespaces, rootEntries, mounts } = view;
  const shared = UNSHARED.filter(
    (kind) => namespaces[kind] === undefined || namespaces[kind] === main.namespaces[kind],
  );
  assert.deepEqual(shared, [], `${name}: namespaces`);
  assert.equal(status['Seccomp'], '2', name);
  // The warden's own and the device's.
  assert.equal(filtersOf(status), filtersOf(statusOf(process.pid)) + 2, name);
  assert.deepEqual(rootEntries.toSorted(), expectedEntries, name);
  assert.equal(mounts.length, 1, name);
}

/** The process of a device itself: in a jail, the one below the process that the warden made. */
export function processOf(machine: number, device: string): number {
  const below = (pid: number): number[] => [pid, ...childrenOfThreads(pid).flatMap(below)];
  const found = below(machine).find((pid) => statusOf(pid)['Name'] === device);
  assert.ok(found !== undefined, `${device} has a process`);
  return childrenOfThreads(found)[0] ?? found;
}

/** How many signals wait at the eventfds that a process watches: those of a device are the guest's kicks, until it takes them. */
export function signalsAt(pid: number): number {
  const folder = `/proc/${pid}/fdinfo`;
  const texts = new Map(readdirSync(folder).map((fd) => [fd, readFileSync(join(folder, fd), 'latin1')]));
  const watched = [...texts.values()].flatMap((text) =>
    [...text.matchAll(/^tfd:\s+(\d+) /gm)].map(([, fd]) => fd ?? ''),
  );
  return watched.reduce((sum, fd) => {
    const count = /^eventfd-count:\s+([0-9a-f]+)$/m.exec(texts.get(fd) ?? '')?.[1];
    return sum + Number.parseInt(count ?? '0', 16);
  }, 0);
}

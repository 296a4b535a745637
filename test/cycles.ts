/** Machines that start and stop, again and again: what is left of them. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Hypervisor } from '#hypervisor/vm.ts';
import { hostClock } from '#util/clock.ts';
import { ControlClient } from '#vm-control/control-client.ts';
import { runTinyGuest } from '#vmm/tiny-guest.ts';
import { childrenOfThreads, runs } from './integration/jail/observe.ts';
import { code, TinyGuest } from './integration/run/tiny-guest.ts';

/** Code is compiled and buffers of the runtime grow in the first ones. */
const WARM_UP = 20;
/** A guest of 2 MiB that stayed each time would be far above. */
const GROWTH_BYTES_MAX = 48 << 20;
const KIB = 1024;

interface Left {
  readonly descriptors: readonly string[];
  /** Mappings of guest memory and of the vCPUs' shared pages. */
  readonly mappings: number;
  readonly threads: number;
  readonly timers: number;
  readonly residentBytes: number;
}

function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, '')];
    } catch {
      // The one that lists them.
      return [];
    }
  });
}

function look(): Left {
  const status = readFileSync('/proc/self/status', 'latin1');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  const mappings = readFileSync('/proc/self/maps', 'latin1').match(/memfd:|kvm-vcpu/g)?.length ?? 0;
  const timers = readFileSync('/proc/self/timers', 'latin1').match(/^ID:/gm)?.length ?? 0;
  const residentBytes = field('VmRSS') * KIB;
  return { descriptors: descriptors().toSorted(), mappings, threads: field('Threads'), timers, residentBytes };
}

/** Machines in this process, without devices. Fails when something is left of `count` of them. Returns what to say of it. */
export async function startAndStop(hypervisor: Hypervisor, count: number): Promise<string> {
  const once = async (): Promise<void> => assert.equal(await runTinyGuest(hypervisor, hostClock), undefined);
  for (let cycle = 0; cycle < WARM_UP; cycle++) await once();
  const before = look();
  const started = performance.now();
  for (let cycle = 0; cycle < count; cycle++) await once();
  const elapsedMs = performance.now() - started;
  const after = look();
  const { residentBytes: bytesBefore, ...heldBefore } = before;
  const { residentBytes: bytesAfter, ...heldAfter } = after;
  assert.deepEqual(heldAfter, heldBefore);
  const grownBytes = bytesAfter - bytesBefore;
  assert.ok(grownBytes < GROWTH_BYTES_MAX, `the process has grown by ${grownBytes} bytes`);
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  return `${count} machines, ${(elapsedMs / count).toFixed(1)} ms each; resident ${mib(bytesBefore)} before, ${mib(bytesAfter)} after`;
}

/** A device's process ends when its warden has, and that when main has. */
const LEFT_LIMIT_MS = 5000;
const DISK_BYTES = 1 << 20;
/** How a run is ended, in turn. */
const ENDINGS = ['stop', 'SIGTERM', 'SIGKILL'] as const;

/** All processes below one, whatever forked them. */
function below(pid: number): number[] {
  return childrenOfThreads(pid).flatMap((child) => [child, ...below(child)]);
}

/** Whole runs of `crosvm` on the software CPU, with devices in jails. Fails when a process or a socket is left of one. */
export async function runAndStop(count: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-cycles-'));
  const started = performance.now();
  let processes = 0;
  try {
    writeFileSync(join(folder, 'disk'), new Uint8Array(DISK_BYTES));
    for (let cycle = 0; cycle < count; cycle++) {
      processes += await runOnce(folder, ENDINGS[cycle % ENDINGS.length] ?? 'stop');
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const seconds = (performance.now() - started) / 1000;
  return `${count} runs with ${processes} processes besides, ${(seconds / count).toFixed(2)} s each`;
}

/** Returns how many processes it had. */
async function runOnce(folder: string, ending: (typeof ENDINGS)[number]): Promise<number> {
  const [control, vsock] = [join(folder, 'control'), join(folder, 'vsock')];
  const options = [`--block=${join(folder, 'disk')},ro`, `--vsock=cid=3,socket=${vsock}`, `--socket=${control}`];
  await using guest = new TinyGuest([code.print('up'), code.haltForever], options);
  await guest.printed('up');
  const { pid } = guest.child;
  assert.ok(pid !== undefined);
  const processes = below(pid);
  if (ending === 'stop') {
    using client = ControlClient.connect(control);
    client.stop();
  } else {
    guest.child.kill(ending);
  }
  const { status, signal, errors } = await guest.end();
  const expected = { stop: [0, null], SIGTERM: [143, null], SIGKILL: [null, 'SIGKILL'] }[ending];
  assert.deepEqual([status, signal], expected, errors);
  const deadlineMs = performance.now() + LEFT_LIMIT_MS;
  while (processes.some(runs) && performance.now() < deadlineMs) await setTimeout(20);
  assert.deepEqual(processes.filter(runs), [], `processes that ${ending} has left`);
  if (ending === 'SIGKILL') {
    // Nobody could take them away.
    for (const path of [control, vsock]) rmSync(path, { force: true });
  }
  assert.deepEqual([control, vsock].filter(existsSync), [], `sockets that ${ending} has left`);
  return processes.length;
}

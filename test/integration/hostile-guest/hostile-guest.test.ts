/**
 * A guest that does what no driver should, to every device in its jail. What comes of it is compared with the table in
 * docs/hostile-guest.md; nobody else may be hurt. `HOSTILE_CASES=word` tries only cases with the word in their name.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { NOBODY } from '#devices/pci/registers.ts';
import { EventType, InputEvent } from '#devices/virtio/input/constants.ts';
import { createQcow2 } from '#disk/qcow2/create.ts';
import { HostImageFile } from '#disk/qcow2/image-file.ts';
import { probeJail } from '#jail/probe.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { bindUnix, listen, SocketType, socket, tryAccept, trySend } from '#sys/socket.ts';
import { KiB, MiB } from '#util/bits.ts';
import type { WantedDevices } from '#vmm/devices/start-warden.ts';
import { missingProgram } from '../../host-needs.ts';
import { documentedTable, verdictTable } from '../../verdict-table.ts';
import type { TestMachine } from '../device-process/machine.ts';
import { RunningDevices } from '../device-process/running.ts';
import { isRoot } from '../jail/run-scenario.ts';
import { RAM_BYTES } from './attack.ts';
import type { Attacked, Attacking } from './attacking-thread.ts';
import { GUEST_CID, HOST_PORT, SILENT_PORT, TARGETS } from './targets.ts';

const DISK_BYTES = MiB;
const WAITING_INPUT_BYTES = 16 * KiB;
const WAITING_KEYS = 512;
const ONLY = process.env['HOSTILE_CASES'];
/** What a process may have more after all cases than before them: the garbage collector's room. */
const PSS_GROWTH_KIB_MAX = 128 * 1024;
/** Main's own, which is the test with its threads. */
const RSS_GROWTH_BYTES_MAX = 256 * MiB;

const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;
const skip =
  hostRefuses ||
  (isRoot ? false : 'only root can look into a process that is not dumpable') ||
  missingProgram('passt', 'passt');

/** Somebody of the host at the other end of a stream of a device, who reads nothing. `owned` gets the descriptors. */
function silentPeer(path: string, owned: DisposableStack): { readonly accept: () => Fd } {
  const listener = owned.use(new Fd(socket(SocketType.STREAM | SocketType.NONBLOCK)));
  bindUnix(listener.fd, path);
  listen(listener.fd);
  return { accept: () => owned.use(new Fd(tryAccept(listener.fd, SocketType.NONBLOCK) ?? -1)) };
}

/** So many keys, each pressed and followed by its report. */
function keys(count: number): Uint8Array {
  const key = InputEvent.encode({ type: EventType.KEY, code: 30, value: 1 });
  return Buffer.concat(Array.from({ length: count }, () => [key, new Uint8Array(InputEvent.size)]).flat());
}

/** What comes from whom the console and the keyboard are connected with, before the guest begins. */
function sendFirst({ console, keyboard }: { readonly console: Fd; readonly keyboard: Fd }): void {
  trySend(console.fd, new Uint8Array(WAITING_INPUT_BYTES), WAITING_INPUT_BYTES);
  const events = keys(WAITING_KEYS);
  trySend(keyboard.fd, events, events.length);
}

function wanted(
  machine: TestMachine,
  peers: { readonly consolePath: string; readonly keyboardPath: string },
): Partial<WantedDevices> {
  const path = join(machine.folder, 'qcow2');
  const fd = Fd.open(path, OpenFlag.RDWR | OpenFlag.CREAT, 0o600);
  createQcow2(new HostImageFile(fd), { sizeBytes: DISK_BYTES });
  fd.close();
  return {
    disks: [machine.disk(machine.diskPath), { ...machine.disk(path), format: 'qcow2' }],
    nets: [{ source: { kind: 'user', hostForwards: [], hostLoopback: false }, mac: '52:54:00:12:34:56', pairs: 1 }],
    inputs: [{ kind: 'keyboard', path: peers.keyboardPath }],
    serial: [
      { hardware: 'virtio-console', num: 1, type: 'sink', console: false, stdin: false },
      {
        hardware: 'virtio-console',
        num: 2,
        type: 'unix-stream',
        path: peers.consolePath,
        name: 'agent',
        console: false,
        stdin: false,
      },
    ],
    vsock: { cid: GUEST_CID, socketPath: join(machine.folder, 'vsock') },
  };
}

/** Somebody of the host that takes connections of the guest, and reads what comes or does not; `sockets` gets them. */
function listenAt(path: string, reads: boolean, sockets: Set<Socket>): Server {
  return createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.destroy());
    if (reads) socket.resume();
  }).listen(path);
}

/** Does main's part until the thread has said what it found. */
async function attacked(running: RunningDevices): Promise<Attacked> {
  const { set, machine } = running;
  const names = TARGETS.map(({ name }) => name);
  // Who answers is jailed, and has its name.
  for (const name of names) assert.notEqual(running.proxy(name).readConfigRegister(0), NOBODY);
  const workerData: Attacking = {
    memory: machine.memory.describe(),
    functions: set.pciFunctions,
    pids: { warden: running.warden, ...Object.fromEntries(names.map((name) => [name, running.process(name)])) },
    only: ONLY,
  };
  const thread = new Worker(new URL('./attacking-thread.ts', import.meta.url), { workerData });
  const exited = new Promise((resolve) => thread.once('exit', resolve));
  let result: Attacked | undefined;
  let failure: unknown;
  thread.on('message', (message: Attacked) => {
    result = message;
  });
  thread.on('error', (error) => {
    failure = error;
  });
  const harm: string[] = [];
  while (result === undefined && failure === undefined) {
    if (pollFd(set.waiting.fd, PollFlag.IN, 2) !== 0) {
      const end = set.turn();
      if (end !== undefined && !harm.includes(end)) harm.push(end);
    }
    await setImmediate();
  }
  await exited;
  if (result === undefined) throw failure;
  return { ...result, harm: [...harm, ...result.harm] };
}

test('a hostile guest hurts nobody but its own devices, and those only until it resets them', {
  skip,
  timeout: 600_000,
}, async (t) => {
  using owned = new DisposableStack();
  const peersFolder = mkdtempSync(join(tmpdir(), 'crosvm-hostile-'));
  t.after(() => rmSync(peersFolder, { recursive: true }));
  const paths = { consolePath: join(peersFolder, 'console'), keyboardPath: join(peersFolder, 'keyboard') };
  const [console, keyboard] = [silentPeer(paths.consolePath, owned), silentPeer(paths.keyboardPath, owned)];
  using running = new RunningDevices({
    sandbox: true,
    memoryBytes: RAM_BYTES,
    wanted: (machine) => wanted(machine, paths),
  });
  sendFirst({ console: console.accept(), keyboard: keyboard.accept() });
  const { folder, irqfds } = running.machine;
  const sockets = new Set<Socket>();
  using servers = new DisposableStack();
  for (const [port, reads] of [
    [HOST_PORT, true],
    [SILENT_PORT, false],
  ] as const) {
    servers.adopt(listenAt(join(folder, `vsock_${port}`), reads, sockets), (server) => server.close());
  }
  // With the descriptors of the processes, which come when they have been forked.
  assert.equal(running.set.waitUntilJailed(), undefined);
  const fdsBefore = readdirSync('/proc/self/fd').length;
  const rssBefore = process.memoryUsage.rss();
  const { verdicts, harm, pss } = await attacked(running);
  for (const socket of sockets) socket.destroy();
  while (sockets.size > 0) await setImmediate();
  const fds = readdirSync('/proc/self/fd').length - irqfds.size - fdsBefore;
  const rssGrowth = process.memoryUsage.rss() - rssBefore;
  const table = verdictTable(
    TARGETS.map(({ name }) => name),
    verdicts,
  );
  t.diagnostic(`\n${table}`);
  const slowest = verdicts.toSorted((a, b) => b.ms - a.ms).slice(0, 12);
  t.diagnostic(`slowest: ${slowest.map(({ device, name, ms }) => `${device}: ${name}: ${ms} ms`).join('; ')}`);
  t.diagnostic(`PSS in KiB before and after: ${JSON.stringify(pss)}`);
  t.diagnostic(`main: ${rssGrowth} bytes of RSS and ${fds} descriptors more`);
  assert.deepEqual(harm, []);
  assert.ok(fds <= 0, `main has ${fds} descriptors more`);
  assert.ok(rssGrowth < RSS_GROWTH_BYTES_MAX, `main has grown by ${rssGrowth} bytes`);
  for (const [name, [before, after]] of Object.entries(pss))
    assert.ok(after - before < PSS_GROWTH_KIB_MAX, `${name} has grown from ${before} to ${after} KiB`);
  if (ONLY === undefined) assert.equal(table, documentedTable('Every case at every device'));
});

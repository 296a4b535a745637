/** What Linux sees of the commands that speak to a running machine: the power button, and standstills in the middle of its work. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { seeded } from '#disk/qcow2/testing/scenario.ts';
import { kill, Signal } from '#sys/signal.ts';
import { ControlClient } from '#vm-control/control-client.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { processOf, signalsAt } from './device-views.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { MemoryWatch } from './guest-memory.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 60_000 };
const MODULES = ['button', 'evdev', 'virtio_pci', 'virtio_blk', 'virtio_balloon', 'vmw_vsock_virtio_transport'];
const STREAM = 'etc/crosvm/vsock';
const MEMORY_MIB = 128;
const DISK_BYTES = 2 << 20;
const PIECE_BYTES = 16 << 10;
const STREAM_BYTES = 1 << 20;
const PORT = 5000;

/** Devices that answer requests when the vCPU stands still already. */
const ANSWER_LATE = ['block1', 'vsock', 'block1'];
/** Less than a device may take to answer the guest. */
const ASK_LIMIT_MS = 300;
const STOPS_MAX = 50;
const STANDSTILLS = 12;
const RUN_MAX_MS = 120;
const STANDSTILL_MS = 30;
/** The last one is longer than Linux's watchdogs of clock source and RCU are patient with a second's jump. */
const LONG_STANDSTILL_MS = 10_000;
/** A clock that had gone on would be later by more than the standstill; the guest reads it once in a round, which takes seconds on a loaded host. */
const CLOCK_STEP_MAX_S = LONG_STANDSTILL_MS / 1000;

/** An event of evdev is 24 bytes: time, type EV_KEY (1), code KEY_POWER (116), value; input.h. */
const BUTTON = `
head -c 24 /dev/input/event0 >/tmp/event &
# Until the reader has opened it: no event is kept for later.
until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q input/event0; do usleep 10000; done
echo "waiting with $(grep acpi /proc/interrupts | tr -s ' ' | cut -d' ' -f3) interrupts"
wait
echo "event $(tail -c 8 /tmp/event | hexdump -e '8/1 "%02x"')"
echo "after $(grep acpi /proc/interrupts | tr -s ' ' | cut -d' ' -f3) interrupts"
`;

/**
 * One request at a time on vdb, whose interrupt no other request can stand in for; four at once on vdc; a stream that comes back while it goes
 * out; the console tells the guest's time. Nothing here times out: a request or an interrupt that is lost is waited for for ever.
 */
const WORK = `
goes_on() { [ ! -e /tmp/stop ]; }
copy() {
  while goes_on; do
    dd if=/dev/vda of=/dev/$1 bs=${PIECE_BYTES} skip=$2 seek=$2 count=$3 iflag=direct oflag=direct conv=notrunc 2>/dev/null || echo "failed: $1"
    echo x >>/tmp/rounds-$1-$2
  done
}
copy vdb 0 ${DISK_BYTES / PIECE_BYTES} &
for part in 0 1 2 3; do copy vdc $((part * ${DISK_BYTES / PIECE_BYTES / 4})) ${DISK_BYTES / PIECE_BYTES / 4} & done
while goes_on; do
  /${STREAM} connect ${PORT} </etc/crosvm/data >/tmp/back || echo "failed: stream"
  cmp -s /etc/crosvm/data /tmp/back || echo "failed: other bytes came back"
  echo x >>/tmp/rounds-stream
done &
while goes_on; do echo "now $(cut -d' ' -f1 /proc/uptime)"; usleep 100000; done &
read answer </dev/console; touch /tmp/stop
wait
echo "rounds $(ls /tmp/rounds-* | wc -l) $(cat /tmp/rounds-* | wc -l)"
echo "complaints $(dmesg | grep -ciE 'clocksource:.*(unstable|skew|watchdog)|rcu.*(stall|detected)|lockup|hung|blocked for|irq.*nobody|no irq handler')"
dmesg | tail -5
`;

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
${BUTTON}
${WORK}
`;

const skipWithoutCompiler = spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler (cc)';

interface Machine extends AsyncDisposable {
  readonly vm: TestVm;
  /** Of crosvm. */
  readonly control: string;
  /** The disk that is read, and what the other two have been made of it. */
  readonly content: Buffer;
  readonly targets: readonly string[];
}

/** With three disks, and somebody at the host who sends back what comes by a stream. */
async function start(t: TestContext, options: readonly string[]): Promise<Machine> {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-control-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [archive, program, control, socket] = ['script.cpio', 'program', 'control', 'vsock'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  execFileSync('cc', ['-O1', '-static', '-o', program, join(import.meta.dirname, 'vsock.c')]);
  const content = randomBytes(DISK_BYTES);
  const [source, ...targets] = ['source', 'one', 'many'].map((name) => join(folder, name)) as [string, string, string];
  writeFileSync(source, content);
  for (const path of targets) writeFileSync(path, new Uint8Array(DISK_BYTES));
  const programs = { [STREAM]: readFileSync(program), 'etc/crosvm/data': randomBytes(STREAM_BYTES) };
  writeScriptArchive(archive, SCRIPT, { programs: { ...(await kernelModules(MODULES)), ...programs } });
  const echo = createServer({ allowHalfOpen: true }, (stream) => stream.on('error', () => {}).pipe(stream));
  t.after(() => echo.close());
  echo.listen(`${socket}_${PORT}`);
  await once(echo, 'listening');
  const disks = [`--block=${source},ro`, ...targets.map((path) => `--block=${path}`)];
  const vm = new TestVm({
    kernel: await vmlinuz(),
    initrds: [await busyboxImage(), archive],
    memoryMib: MEMORY_MIB,
    options: [...disks, `--vsock=cid=3,socket=${socket}`, '--socket', control, ...options],
  });
  return { vm, control, content, targets, [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose]() };
}

async function pressPowerButton({ vm, control }: Machine): Promise<void> {
  const [, before] = await vm.waitFor(/^waiting with (\d+) interrupts\r?\n/m, BOOT);
  using client = ControlClient.connect(control);
  client.powerButton();
  const [, event] = await vm.waitFor(/^event (\w+)\r?\n/m, COMMAND);
  assert.equal(event, '0100740001000000', vm.console);
  const [, after] = await vm.waitFor(/^after (\d+) interrupts\r?\n/m, COMMAND);
  assert.equal(Number(after), Number(before) + 1);
}

/** Memory does not change, whatever is asked of the machine. Tells whether it has since the last standstill. */
async function standStill(client: ControlClient, memory: MemoryWatch, durationMs: number): Promise<boolean> {
  client.suspend();
  assert.equal(client.status().state, 'suspended');
  const hasChanged = memory.hasChanged();
  client.balloonStats();
  await setTimeout(durationMs);
  assert.equal(memory.hasChanged(), false, 'memory does not change while the guest stands still');
  return hasChanged;
}

async function standStillOften(
  { control }: Machine,
  memory: MemoryWatch,
  random: (limit: number) => number,
): Promise<void> {
  let changes = 0;
  for (let round = 0; round < STANDSTILLS; round++) {
    using client = ControlClient.connect(control);
    await setTimeout(random(RUN_MAX_MS));
    if (await standStill(client, memory, STANDSTILL_MS)) changes += 1;
    client.resume();
  }
  // Where others want the processor too, the guest does nothing in the shortest of times.
  assert.ok(changes > STANDSTILLS / 4, `memory changed only ${changes} times while the guest ran`);
}

interface LateAnswer {
  readonly device: string;
  readonly memory: MemoryWatch;
  /** That of suspending-thread.ts. */
  readonly thread: Worker;
}

/**
 * A request of the guest waits for the device, which is stopped, when the vCPU begins to stand still: it is answered, and its interrupt
 * comes, when nobody looks.
 */
async function answerLate(machine: Machine, { device, memory, thread }: LateAnswer): Promise<void> {
  const { vm, control } = machine;
  const pid = processOf(vm.pid, device);
  try {
    await stopWhenAsked(pid);
    using client = ControlClient.connect(control);
    const suspended = once(thread, 'message');
    thread.postMessage(control);
    while (client.status().state === 'running') await setTimeout(1);
    kill(pid, Signal.SIGCONT);
    await suspended;
  } finally {
    kill(pid, Signal.SIGCONT);
  }
  using client = ControlClient.connect(control);
  await standStill(client, memory, STANDSTILL_MS);
  client.resume();
}

/** Stops a process with a request of the guest before it. Only root sees whether there is one; for others it is most likely. */
async function stopWhenAsked(pid: number): Promise<void> {
  const isSeen = process.getuid?.() === 0;
  for (let tries = 0; tries < STOPS_MAX; tries++) {
    kill(pid, Signal.SIGSTOP);
    const endMs = performance.now() + ASK_LIMIT_MS;
    while (performance.now() < endMs) {
      if (isSeen && signalsAt(pid) > 0) return;
      await setTimeout(2);
    }
    if (!isSeen) return;
    // It was stopped within a request: the next one waits for the answer to that.
    kill(pid, Signal.SIGCONT);
    await setTimeout(STANDSTILL_MS);
  }
  assert.fail('the guest asks nothing of the device');
}

function timesOf(console: string): number[] {
  return [...console.matchAll(/^now ([\d.]+)\r?\n/gm)].map(([, time]) => Number(time));
}

/** The guest's clock, of which the console tells, stands still too. */
async function standStillLong({ vm, control }: Machine, memory: MemoryWatch): Promise<void> {
  {
    using client = ControlClient.connect(control);
    await standStill(client, memory, LONG_STANDSTILL_MS / 10);
  }
  // What was written before is on its way to this process.
  const { length } = vm.console;
  await setTimeout((LONG_STANDSTILL_MS * 9) / 10);
  assert.equal(memory.hasChanged(), false);
  assert.equal(vm.console.length, length);
  const before = timesOf(vm.console);
  // A client that is silent for so long is closed.
  using client = ControlClient.connect(control);
  client.resume();
  assert.equal(client.status().state, 'running');
  while (timesOf(vm.console).length === before.length) await vm.waitFor(/^now .*\r?\n/m, COMMAND);
  const step = (timesOf(vm.console)[before.length] ?? 0) - (before.at(-1) ?? 0);
  assert.ok(step < CLOCK_STEP_MAX_S, `its clock went on by ${step} s`);
}

describe('commands to a machine', { skip: skipWithoutApt || skipWithoutCompiler }, () => {
  for (const { name, options } of [
    { name: 'in their jails, with MSI-X', options: [] },
    { name: 'without a jail, with INTx', options: ['--disable-sandbox', '--params=pci=nomsi'] },
  ]) {
    test(`Linux takes the power button for a key, and stands still in the middle of requests to devices ${name}`, {
      timeout: 300_000,
    }, async (t) => {
      const seed = Number(process.env['STANDSTILL_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
      t.diagnostic(`STANDSTILL_SEED=${seed}`);
      const random = seeded(seed);
      await using machine = await start(t, options);
      const { vm, content, targets } = machine;
      const output = (): string => `${vm.console.slice(-3000)}\n${vm.errors}`;
      t.after(() => t.diagnostic(`crosvm said [${vm.errors}]`));
      await pressPowerButton(machine);
      await vm.waitFor(/^now .*\r?\nnow .*\r?\n/m, COMMAND);
      using memory = new MemoryWatch(vm.pid);
      await standStillOften(machine, memory, random);
      const thread = new Worker(new URL('./suspending-thread.ts', import.meta.url));
      t.after(() => thread.terminate());
      for (const device of ANSWER_LATE) await answerLate(machine, { device, memory, thread });
      await standStillLong(machine, memory);
      vm.send('stop\n');
      const [, files, rounds] = await vm.waitFor(/^rounds (\d+) (\d+)/m, COMMAND);
      t.diagnostic(`the guest did its work ${rounds} times`);
      assert.equal(files, '6', 'each of its programs went on to the end');
      const [, complaints] = await vm.waitFor(/^complaints (\d+)/m, COMMAND);
      assert.deepEqual(await vm.waitForExit(COMMAND), { status: 0, signal: null }, output());
      assert.equal(complaints, '0', output());
      assert.doesNotMatch(vm.console, /^failed/m);
      for (const path of targets) assert.ok(readFileSync(path).equals(content), 'what was written is on the disk');
    });
  }
});

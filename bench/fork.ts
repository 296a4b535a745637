/**
 * npm run bench -- fork [--children 20]: device processes of a warden, from the request to the jail, and their memory. The warden is built as in an
 * installed package: one that has turned TypeScript into JavaScript has more than twice as much memory to copy.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BASE_JAIL } from '../src/jail/jail-config.ts';
import { type ForkedDevice, Warden } from '../src/jail/warden.ts';
import { SharedMemory } from '../src/memory/shared-memory.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { buildModule } from './installed.ts';
import { type Memory, memoryOf, withChildren } from './process-tree.ts';

const ENTRY = resolve(import.meta.dirname, 'fork-entry.ts');
const GUEST_MEMORY_BYTES = 512 * 2 ** 20;
const TIMEOUT_MS = 30_000;

function memoryOfTree(pid: number): Memory {
  const all = withChildren(pid).map(memoryOf);
  const sum = (name: keyof Memory) => all.reduce((total, memory) => total + memory[name], 0);
  return { pssKib: sum('pssKib'), privateDirtyKib: sum('privateDirtyKib') };
}

/** Time on a processor, and time in which it wanted one: a loaded machine shows in the second, proc(5). */
function processorMs(pid: number): { ran: number; waited: number } {
  const [ran = 0, waited = 0] = readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ').map(Number);
  return { ran: ran / 1e6, waited: waited / 1e6 };
}

interface Start {
  readonly device: ForkedDevice;
  readonly ms: number;
  /** Of the warden and the device. */
  readonly ranMs: number;
  readonly waitedMs: number;
}

function forkUntilReady(warden: Warden, name: string): Start {
  const before = processorMs(warden.pid);
  const started = performance.now();
  const device = warden.fork({
    device: 'idle',
    name,
    jail: BASE_JAIL,
    usesGuestMemory: true,
    parameters: new Uint8Array(),
  });
  const event = warden.nextEvent(TIMEOUT_MS);
  if (event?.kind !== 'ready') throw new Error(`the device is not ready: ${JSON.stringify(event)}`);
  const ms = performance.now() - started;
  const all = [warden.pid, device.pid].map(processorMs);
  const sum = (name: 'ran' | 'waited') => all.reduce((total, time) => total + time[name], -before[name]);
  return { device, ms, ranMs: sum('ran'), waitedMs: sum('waited') };
}

const rounded = (value: number) => Number(value.toFixed(1));

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({ args: parameters, options: { children: { type: 'string', default: '20' } } });
  const count = Number(values.children);
  if (!Number.isInteger(count) || count < 1 || count > 200) throw new BenchUsageError('--children: 1 to 200');
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-fork-'));
  try {
    measure(await buildModule(ENTRY, folder), count);
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Prints what it has measured. */
function measure(entry: URL, count: number): void {
  using memory = SharedMemory.create('bench-fork', GUEST_MEMORY_BYTES);
  const started = performance.now();
  using warden = new Warden({ entry, guestMemoryFd: memory.fd });
  const first = forkUntilReady(warden, 'first');
  const startMs = performance.now() - started;
  const before = memoryOfTree(warden.pid);
  const devices = Array.from({ length: count }, (_, index) => forkUntilReady(warden, `idle-${index}`));
  const after = memoryOfTree(warden.pid);
  const sorted = (name: 'ms' | 'ranMs' | 'waitedMs') => devices.map((start) => start[name]).toSorted((a, b) => a - b);
  const median = (name: 'ms' | 'ranMs' | 'waitedMs') => rounded(sorted(name)[devices.length >> 1] ?? 0);
  const oneDevice = memoryOf(devices[0]?.device.pid ?? 0).pssKib;
  process.stdout.write(
    `${JSON.stringify({
      children: count,
      wardenStartMs: rounded(startMs),
      firstForkMs: rounded(first.ms),
      bestForkToReadyMs: rounded(sorted('ms')[0] ?? 0),
      medianForkToReadyMs: median('ms'),
      worstForkToReadyMs: rounded(sorted('ms').at(-1) ?? 0),
      medianOnProcessorMs: median('ranMs'),
      medianWaitingForProcessorMs: median('waitedMs'),
      // What one device more costs the machine, and the share that /proc gives it.
      addedPssMibPerDevice: rounded((after.pssKib - before.pssKib) / count / 1024),
      addedPrivateDirtyMibPerDevice: rounded((after.privateDirtyKib - before.privateDirtyKib) / count / 1024),
      pssMibOfOneDevice: rounded(oneDevice / 1024),
      wardenPssMibAlone: rounded(before.pssKib / 1024),
    })}\n`,
  );
}

export default {
  name: 'fork',
  describe: 'time from the request to the jail and memory of an idle device process',
  run,
} satisfies Bench;

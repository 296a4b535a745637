/**
 * npm run bench -- proxy [--accesses 50000] [--rounds 5]
 *
 * What a guest's access to a register of a device costs through a ProxyDevice: the device is the entropy device in its own process, jailed
 * where the host lets it be. Reads wait for their answer; writes are posted, and the time includes one read behind all of them. Beside a
 * C program that passes as many messages with send(2) and recv(2). The C compiler is `cc`; without it there is no ratio.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BAR, CommonConfig } from '#devices/virtio/transport/common-config.ts';
import { VIRTIO_BAR } from '#devices/virtio/virtio-pci-device.ts';
import { probeJail } from '#jail/probe.ts';
import { RunningDevices } from '../test/integration/device-process/running.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { hostText, median } from './beside-qemu.ts';

const OPTIONS = {
  accesses: { type: 'string', default: '50000' },
  rounds: { type: 'string', default: '5' },
} as const;

const C_SOURCE = join(import.meta.dirname, 'msg-socket.c');
const WARM_UP_SHARE = 10;

/** Nanoseconds of one access. */
type Contender = (accesses: number) => number;

interface Kind {
  readonly name: string;
  readonly own: Contender;
  readonly c: Contender | undefined;
}

function parseOptions(parameters: string[]): { accesses: number; rounds: number } {
  const { values } = parseArgs({ args: parameters, options: OPTIONS, strict: true });
  const numbers = { accesses: Number(values.accesses), rounds: Number(values.rounds) };
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isInteger(value) || value < 1) throw new BenchUsageError(`--${name} takes a whole number from 1`);
  }
  return numbers;
}

function timed(access: () => void, accesses: number, after: () => void): number {
  for (let i = 0; i < accesses / WARM_UP_SHARE; i++) access();
  after();
  const started = process.hrtime.bigint();
  for (let i = 0; i < accesses; i++) access();
  after();
  return Number(process.hrtime.bigint() - started) / accesses;
}

function contenders(running: RunningDevices, program: string | undefined): readonly Kind[] {
  const proxy = running.proxy('rng');
  const data = new Uint8Array(4);
  const offsetOf = (field: keyof typeof CommonConfig.fields): number =>
    BAR.COMMON.offset + CommonConfig.fields[field].offset;
  const [statusAt, selectAt] = [offsetOf('deviceStatus'), offsetOf('deviceFeatureSelect')];
  const status = data.subarray(0, 1);
  const readStatus = (): void => proxy.readBar(VIRTIO_BAR.index, statusAt, status);
  const writeSelect = (): void => proxy.writeBar(VIRTIO_BAR.index, selectAt, data);
  const inC = (...words: string[]): Contender | undefined =>
    program === undefined
      ? undefined
      : (accesses) => Number(execFileSync(program, [String(accesses), ...words]).toString());
  return [
    { name: 'read of a BAR', own: (accesses) => timed(readStatus, accesses, () => {}), c: inC() },
    { name: 'posted write to a BAR', own: (accesses) => timed(writeSelect, accesses, readStatus), c: inC('posted') },
  ];
}

async function run(parameters: string[]): Promise<number> {
  const { accesses, rounds } = parseOptions(parameters);
  const sandbox = probeJail().length === 0;
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    let program: string | undefined;
    if (spawnSync('cc', ['--version']).status === 0) {
      program = join(folder, 'ping-pong');
      execFileSync('cc', ['-O2', '-o', program, C_SOURCE]);
    }
    using running = new RunningDevices({ sandbox });
    const times = contenders(running, program).map((kind) => ({ ...kind, ownNs: [] as number[], cNs: [] as number[] }));
    // In turn, so that a busier host meets all of them.
    for (let round = 0; round < rounds; round++) {
      for (const { own, c, ownNs, cNs } of times) {
        ownNs.push(own(accesses));
        if (c !== undefined) cNs.push(c(accesses));
      }
    }
    const [failure] = running.failures;
    if (failure !== undefined) throw new Error(failure);
    report(times, { accesses, rounds, sandbox });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

function report(
  times: readonly { name: string; ownNs: readonly number[]; cNs: readonly number[] }[],
  { accesses, rounds, sandbox }: { accesses: number; rounds: number; sandbox: boolean },
): void {
  const least = (ns: readonly number[]): number => Math.min(...ns);
  const row = (own: readonly number[], c: readonly number[], of: (ns: readonly number[]) => number): string => {
    const µs = (ns: readonly number[]): string => (of(ns) / 1000).toFixed(2);
    return c.length === 0 ? `${µs(own)} | - | -` : `${µs(own)} | ${µs(c)} | ${(of(own) / of(c)).toFixed(2)}`;
  };
  const rows = times.map(
    ({ name, ownNs, cNs }) => `| ${name} | ${row(ownNs, cNs, least)} | ${row(ownNs, cNs, median)} |`,
  );
  const jail = sandbox ? 'a jailed process' : 'a process without a jail, which the host refuses';
  const title = `${rounds} rounds of ${accesses} accesses to ${jail}; ${hostText()}`;
  const head = ['| | least (µs) | C | times C | median (µs) | C | times C |', '|---|---|---|---|---|---|---|'];
  process.stdout.write([title, '', ...head, ...rows, ''].join('\n'));
}

export default {
  name: 'proxy',
  describe: "an access to the register of a device in a jailed process, beside C's messages",
  run,
} satisfies Bench;

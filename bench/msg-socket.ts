/**
 * npm run bench -- msg-socket [--trips 100000] [--rounds 5]
 *
 * The round trip of a message of 16 bytes between two processes, and of a protocol's request and response, beside a C program
 * that does the same with send(2) and recv(2). The C compiler is `cc`; without it there is no ratio.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Fd } from '../src/sys/fd.ts';
import { SocketType, socketpair } from '../src/sys/socket.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { openSocket, PING, RegisterProxy } from './msg-socket-types.ts';

const OPTIONS = {
  trips: { type: 'string', default: '100000' },
  rounds: { type: 'string', default: '5' },
} as const;

const C_SOURCE = resolve(import.meta.dirname, 'msg-socket.c');
const PEER = resolve(import.meta.dirname, 'msg-socket-peer.ts');

/** Nanoseconds of one round trip. */
type Contender = (trips: number) => number | Promise<number>;

function parseOptions(parameters: string[]): { trips: number; rounds: number } {
  const { values } = parseArgs({ args: parameters, options: OPTIONS, strict: true });
  const numbers = { trips: Number(values.trips), rounds: Number(values.rounds) };
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isInteger(value) || value < 1) throw new BenchUsageError(`--${name} takes a whole number from 1`);
  }
  return numbers;
}

/** Starts the peer, times `trip` against it and ends it. `open` takes over our end. */
async function withPeer(
  mode: 'messages' | 'protocol',
  trips: number,
  open: (fd: Fd) => { trip: () => void; close: () => void },
): Promise<number> {
  const [ours, theirs] = socketpair(SocketType.SEQPACKET);
  const child = spawn(process.execPath, [PEER, mode], { stdio: ['ignore', 'inherit', 'inherit', theirs] });
  const ended = new Promise<number | null>((ending) => child.once('close', ending));
  new Fd(theirs).close();
  const { trip, close } = open(new Fd(ours));
  for (let i = 0; i < trips / 10; i++) trip();
  const started = process.hrtime.bigint();
  for (let i = 0; i < trips; i++) trip();
  const ns = Number(process.hrtime.bigint() - started) / trips;
  close();
  if ((await ended) !== 0) throw new Error('the peer did not end well');
  return ns;
}

const messages: Contender = (trips) =>
  withPeer('messages', trips, (fd) => {
    const socket = openSocket(fd);
    const message = { ...PING };
    const trip = (): void => {
      socket.send(message);
      if (!socket.recvInto(message)) throw new Error('the peer has closed');
    };
    return { trip, close: () => socket.close() };
  });

const protocolCalls: Contender = (trips) =>
  withPeer('protocol', trips, (fd) => {
    const client = RegisterProxy.client(fd, { sendMs: 2000, receiveMs: 2000 });
    const asked = { offset: 0x1000, length: 4 };
    const trip = (): void => {
      if (client.read(asked) !== 0x1004) throw new Error('a wrong answer');
    };
    return { trip, close: () => client.close() };
  });

async function run(parameters: string[]): Promise<number> {
  const { trips, rounds } = parseOptions(parameters);
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    const contenders: Record<string, Contender> = { MsgSocket: messages, 'protocol call': protocolCalls };
    if (spawnSync('cc', ['--version']).status === 0) {
      const program = join(folder, 'ping-pong');
      execFileSync('cc', ['-O2', '-o', program, C_SOURCE]);
      contenders['C'] = (count) => Number(execFileSync(program, [String(count)]).toString());
    }
    const times = Object.entries(contenders).map(([name, contender]) => ({ name, contender, ns: [] as number[] }));
    // In turn, so that a busier host meets all of them.
    for (let round = 0; round < rounds; round++) {
      for (const { contender, ns } of times) ns.push(await contender(trips));
    }
    report(times, { trips, rounds });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

function report(
  times: readonly { name: string; ns: readonly number[] }[],
  { trips, rounds }: { trips: number; rounds: number },
): void {
  const least = (ns: readonly number[]): number => Math.min(...ns);
  const median = (ns: readonly number[]): number => ns.toSorted((a, b) => a - b)[ns.length >> 1] ?? 0;
  const reference = times.find(({ name }) => name === 'C');
  const ratio = (ns: readonly number[], of: (ns: readonly number[]) => number): string =>
    reference ? (of(ns) / of(reference.ns)).toFixed(2) : '-';
  const rows = times.map(
    ({ name, ns }) =>
      `| ${name} | ${(least(ns) / 1000).toFixed(2)} | ${ratio(ns, least)} | ${(median(ns) / 1000).toFixed(2)} | ${ratio(ns, median)} |`,
  );
  const host = `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.versions.node}`;
  const title = `${rounds} rounds of ${trips} round trips between two processes; ${host}`;
  const head = ['| | least (µs) | times C | median (µs) | times C |', '|---|---|---|---|---|'];
  process.stdout.write([title, '', ...head, ...rows, ''].join('\n'));
}

export default {
  name: 'msg-socket',
  describe: 'a round trip over a MsgSocket, beside C',
  run,
} satisfies Bench;

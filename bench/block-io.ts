/**
 * npm run bench -- block-io [--rounds 5]
 *
 * What the requests of a queue cost by one preadv(2) or pwritev(2) each, as the block device does, and by io_uring in batches of 64:
 * bench/block-io.c, on a file in the page cache and, for `cold`, on one that is not.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Bench, BenchUsageError } from './bench.ts';

const FILE_BYTES = 256 << 20;
const DEPTH = 64;
const WAYS = ['sync', 'uring'] as const;

interface Load {
  readonly operation: 'read' | 'cold' | 'write';
  readonly bytes: number;
  readonly requests: number;
}

const LOADS: readonly Load[] = [
  { operation: 'read', bytes: 4096, requests: 65_536 },
  { operation: 'read', bytes: 65_536, requests: 16_384 },
  { operation: 'write', bytes: 4096, requests: 16_384 },
  { operation: 'write', bytes: 65_536, requests: 4096 },
  { operation: 'cold', bytes: 4096, requests: 4096 },
];

interface Cost {
  readonly processorNs: number;
  readonly timeNs: number;
}

function measure(program: string, path: string, { operation, bytes, requests }: Load, way: string): Cost {
  const argv = [path, operation, String(bytes), String(DEPTH), String(requests), way];
  const [processorNs = 0, timeNs = 0] = execFileSync(program, argv, { encoding: 'utf8' }).split(' ').map(Number);
  return { processorNs, timeNs };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({
    args: parameters,
    options: { rounds: { type: 'string', default: '5' } },
    strict: true,
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new BenchUsageError('--rounds takes a whole number from 1');
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    const [program, path] = [join(folder, 'program'), join(folder, 'file')];
    execFileSync('cc', ['-O2', '-o', program, join(import.meta.dirname, 'block-io.c')]);
    writeFileSync(path, new Uint8Array(FILE_BYTES).fill(0x5a));
    for (const load of LOADS) {
      const costs = Array.from({ length: rounds }, () => WAYS.map((way) => measure(program, path, load, way)));
      const of = (way: number, figure: keyof Cost): number => median(costs.map((cost) => cost[way]?.[figure] ?? 0));
      const [sync, uring] = WAYS.map((_, way) => ({ processorNs: of(way, 'processorNs'), timeNs: of(way, 'timeNs') }));
      process.stdout.write(`${JSON.stringify({ ...load, sync, uring })}\n`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

export default {
  name: 'block-io',
  describe: 'requests to a file by preadv and pwritev, and by io_uring',
  run,
} satisfies Bench;

/**
 * npm run bench -- smp [--rounds 3] [--cpus 2]
 *
 * What several vCPUs of the software CPU do in the time in which one does the same alone: as many programs at once as there are
 * vCPUs, beside one program on a machine with one. The ratio means something only where the host has a
 * core to spare for each vCPU.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { busyboxImage, vmlinuz } from '../test/e2e/guest-files.ts';
import { writeScriptArchive } from '../tools/guest/initramfs.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { hostText, measureRates, median, ownCommand } from './beside-qemu.ts';

interface Load {
  readonly name: string;
  /** Shell commands, and how often each program does them. */
  readonly commands: string;
  readonly times: number;
}

const LOADS: readonly Load[] = [
  { name: 'computing: md5sum of 1 MiB', commands: 'md5sum /tmp/data >/dev/null', times: 30 },
  {
    name: 'system calls: 5000 reads and writes of a byte',
    commands: 'dd if=/dev/zero of=/dev/null bs=1 count=5000 2>/dev/null',
    times: 20,
  },
  { name: 'a process: start and end', commands: '/bin/busybox true', times: 150 },
];

/** The last of the programs ends the measurement, as in a make of several jobs. /proc/uptime counts hundredths of seconds. */
const script = (cpus: number): string => `
now() { read up idle < /proc/uptime; echo \${up%.*}\${up#*.}; }
head -c 1048576 /bin/busybox > /tmp/data
${LOADS.map(
  ({ commands, times }) => `
work() { i=0; while [ $i -lt ${times} ]; do ${commands}; i=$((i + 1)); done; }
for cpu in $(seq ${cpus}); do (${commands}) & done; wait
start=$(now)
for cpu in $(seq ${cpus}); do work & done; wait
echo "done ${times * cpus} $((($(now) - start) * 10000000))"`,
).join('\n')}
`;

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({
    args: parameters,
    options: { rounds: { type: 'string', default: '3' }, cpus: { type: 'string', default: '2' } },
    strict: true,
  });
  const [rounds, cpus] = [Number(values.rounds), Number(values.cpus)];
  if (!Number.isInteger(rounds) || rounds < 1) throw new BenchUsageError('--rounds takes a whole number from 1');
  if (!Number.isInteger(cpus) || cpus < 2 || cpus > 16) throw new BenchUsageError('--cpus takes 2 to 16');
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  const counts = [1, cpus] as const;
  const results = new Map<number, (readonly number[])[]>(counts.map((count) => [count, []]));
  try {
    const image = readFileSync(await busyboxImage());
    for (let round = 1; round <= rounds; round++) {
      // Whoever comes first may meet a busier host: take turns.
      for (const count of round % 2 === 1 ? counts : counts.toReversed()) {
        const [archive, initramfs] = [join(folder, `script${round}-${count}`), join(folder, 'initramfs')];
        writeScriptArchive(archive, script(count));
        writeFileSync(initramfs, Buffer.concat([image, readFileSync(archive)]));
        const command = ownCommand({ kernel: await vmlinuz(), initramfs }, [`--cpus=${count}`]);
        const rates = await measureRates(`${count} vCPUs`, command, LOADS.length);
        process.stderr.write(
          `bench: round ${round} of ${rounds}: --cpus ${count}: ${rates.map((rate) => rate.toFixed(1)).join(', ')}\n`,
        );
        results.get(count)?.push(rates);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  report(results, { rounds, cpus });
  return 0;
}

function report(
  results: ReadonlyMap<number, readonly (readonly number[])[]>,
  { rounds, cpus }: { readonly rounds: number; readonly cpus: number },
): void {
  const rows = LOADS.map(({ name }, index) => {
    const [one = 0, several = 0] = [1, cpus].map((count) =>
      median((results.get(count) ?? []).map((rates) => rates[index] ?? 0)),
    );
    return `| ${name} | ${one.toFixed(1)} | ${several.toFixed(1)} | ${(several / one).toFixed(2)} |`;
  });
  const lines = [
    `medians of ${rounds} rounds; ${hostText()}`,
    '',
    `| in a second | 1 vCPU | ${cpus} vCPUs | ratio |`,
    '|---|---|---|---|',
    ...rows,
    '',
  ];
  process.stdout.write(lines.join('\n'));
}

export default {
  name: 'smp',
  describe: 'what several vCPUs do beside one',
  run,
} satisfies Bench;

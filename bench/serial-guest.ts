/**
 * npm run bench -- serial-guest [--rounds 3]
 *
 * Output of a guest to a serial port on the vCPU's thread, and to one in a jailed process of its own (`--serial …,jail`), in turn: bytes of
 * a program, and lines of the kernel's.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { busyboxImage, vmlinuz } from '../test/e2e/guest-files.ts';
import { writeScriptArchive } from '../tools/guest/initramfs.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { hostText, measureRates, median, ownCommand } from './beside-qemu.ts';

const CONTENDERS = [
  { name: 'on the thread', option: '' },
  { name: 'in a process', option: ',jail' },
] as const;

const PROGRAM_BYTES = 64_000;
const KERNEL_LINES = 400;
/** `console_loglevel` shows them: the machine's parameters do not. /proc/uptime counts hundredths of seconds. */
const SCRIPT = `
now() { read up idle < /proc/uptime; echo \${up%.*}\${up#*.}; }
done_since() { echo; echo "done $2 $((($(now) - $1) * 10000000))"; }
dmesg -n 8
head -c ${PROGRAM_BYTES} /dev/zero | tr '\\0' x > /tmp/bytes
start=$(now); cat /tmp/bytes > /dev/ttyS0; done_since $start ${PROGRAM_BYTES}
start=$(now); i=0
while [ $i -lt ${KERNEL_LINES} ]; do echo "<5>a line of the kernel's, sixty characters with its time stamp" > /dev/kmsg; i=$((i + 1)); done
done_since $start ${KERNEL_LINES}
`;
const LOADS = ['bytes of a program', 'lines of the kernel’s'] as const;

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({
    args: parameters,
    options: { rounds: { type: 'string', default: '3' } },
    strict: true,
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new BenchUsageError('--rounds takes a whole number from 1');
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    const [script, initramfs] = [join(folder, 'script'), join(folder, 'initramfs')];
    writeScriptArchive(script, SCRIPT);
    writeFileSync(initramfs, Buffer.concat([readFileSync(await busyboxImage()), readFileSync(script)]));
    const guest = { kernel: await vmlinuz(), initramfs };
    const results = new Map<string, (readonly number[])[]>(CONTENDERS.map(({ name }) => [name, []]));
    for (let round = 1; round <= rounds; round++) {
      // Whoever comes first may meet a busier host: take turns.
      for (const { name, option } of round % 2 === 1 ? CONTENDERS : CONTENDERS.toReversed()) {
        const command = ownCommand(guest, [], `type=stdout,num=1,console=true,stdin=false${option}`);
        const rates = await measureRates(name, command, LOADS.length);
        process.stderr.write(`bench: round ${round} of ${rounds}: ${name}: ${rates.map(Math.round).join(', ')}\n`);
        results.get(name)?.push(rates);
      }
    }
    report(results, rounds);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

function report(results: ReadonlyMap<string, readonly (readonly number[])[]>, rounds: number): void {
  const rows = LOADS.map((load, index) => {
    const [thread = 0, process = 0] = CONTENDERS.map(({ name }) =>
      median((results.get(name) ?? []).map((rates) => rates[index] ?? 0)),
    );
    const µs = (rate: number): string => (1e6 / rate).toFixed(1);
    return `| ${load} | ${µs(thread)} | ${µs(process)} | ${(thread / process).toFixed(1)} |`;
  });
  const lines = [
    `medians of ${rounds} rounds; ${hostText()}`,
    '',
    '| µs for one | on the thread | in a process | times |',
    '|---|---|---|---|',
    ...rows,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

export default {
  name: 'serial-guest',
  describe: "a guest's output to a serial port, on the vCPU's thread and in a process",
  run,
} satisfies Bench;

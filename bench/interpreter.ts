/** npm run bench -- interpreter: the interpreter on a loop of loads, stores, multiplications and a branch. */
import { CODE_START, createTestMachine, STACK_TOP } from '../src/cpu/testing.ts';
import type { Bench } from './bench.ts';

// xor eax,eax; mov ecx,1000000; L: add rax,rcx; mov [rsp-64],rax; mov rdx,[rsp-64]; imul rdx,rdx,3; dec rcx; jnz L; hlt
const LOOP = '31c0 b940420f00 4801c8 48894424c0 488b5424c0 486bd203 48ffc9 75ea f4';
const ROUNDS = 9;

async function run(): Promise<number> {
  const started = performance.now();
  const machine = createTestMachine(LOOP);
  const buildMs = performance.now() - started;
  const perInstruction: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = machine.cpu.instructions;
    const roundStarted = performance.now();
    machine.cpu.setRip(CODE_START, 0);
    machine.cpu.halted = false;
    machine.setRegister(4, BigInt(STACK_TOP));
    while (machine.cpu.run(1_000_000).reason === 'budget');
    perInstruction.push(((performance.now() - roundStarted) * 1e6) / (machine.cpu.instructions - before));
  }
  const [first = 0, ...later] = perInstruction;
  const median = later.toSorted((a, b) => a - b)[later.length >> 1] ?? 0;
  process.stdout.write(
    `${JSON.stringify({
      engineBuildMs: Number(buildMs.toFixed(1)),
      firstRoundNsPerInstruction: Number(first.toFixed(2)),
      medianNsPerInstruction: Number(median.toFixed(2)),
      mips: Math.round(1000 / median),
    })}\n`,
  );
  return 0;
}

export default {
  name: 'interpreter',
  describe: 'nanoseconds for each instruction of a hot loop',
  run,
} satisfies Bench;

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepForkableFilter } from './forkable.ts';
import { returnValue } from './seccomp/action.ts';
import { AARCH64, X86_64 } from './seccomp/architecture.ts';
import { checkProgram, runProgram } from './seccomp/testing-bpf.ts';

const ALLOW = returnValue('allow');
const DONTFORK = 10n;
const MADVISE = { x86_64: 28, aarch64: 233 } as const;

for (const architecture of [X86_64, AARCH64]) {
  test(`${architecture.name}: madvise(MADV_DONTFORK) does nothing and succeeds, and nothing else is touched`, () => {
    const program = keepForkableFilter(architecture);
    checkProgram(program);
    const run = (call: number, advice: bigint, arch = architecture.auditArch): number =>
      runProgram(program, { call, arch, args: [0n, 4096n, advice, 0n, 0n, 0n] });
    const madvise = MADVISE[architecture.name];
    assert.equal(run(madvise, DONTFORK), returnValue({ errno: 0 }));
    assert.deepEqual(
      [4n, 9n, 11n, 0n].map((advice) => run(madvise, advice)),
      [ALLOW, ALLOW, ALLOW, ALLOW],
    );
    assert.equal(run(madvise + 1, DONTFORK), ALLOW);
    assert.equal(run(madvise, DONTFORK, 0x4000_0003), ALLOW, 'another architecture numbers its calls otherwise');
  });
}

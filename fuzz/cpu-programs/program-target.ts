/** Targets that compare machines which keep what they have decoded with one that decodes each instruction afresh. */
import assert from 'node:assert/strict';
import { type FuzzTarget, inputTarget } from '../target.ts';
import { differences } from './compare.ts';
import { ProgramMachine } from './machine.ts';
import { generateProgram, imageOf, type Program, showProgram, shrinkProgram } from './program.ts';

/** Slices of instructions: branches that helpers make count more in one machine than in the other. */
const SLICES = { EXPECTED: 4, ACTUAL: 16, INTERRUPTED: 400 } as const;

const slicesOf = ({ interruptSeed }: Program): number => (interruptSeed === 0 ? SLICES.ACTUAL : SLICES.INTERRUPTED);

function checkProgram(program: Program, keeping: ProgramMachine, afresh: ProgramMachine): void {
  const image = imageOf(program);
  afresh.begin(program, image);
  const end = afresh.run(SLICES.EXPECTED, false);
  assert.ok(afresh.isIsolated(), 'without kept blocks, user code has changed what is the supervisor’s');
  keeping.begin(program, image);
  for (const run of ['first', 'second'] as const) {
    const actualEnd = keeping.run(end === 'budget' ? SLICES.EXPECTED : slicesOf(program), true);
    assert.ok(keeping.isIsolated(), `user code has changed what is the supervisor’s in the ${run} run`);
    // Machines that have not come to an end are not at the same place.
    if (end === 'budget') continue;
    const found = actualEnd === end ? [...differences(keeping, afresh)] : [`${actualEnd} instead of ${end}`];
    assert.equal(found.length, 0, `the ${run} run differs:\n  ${found.join('\n  ')}`);
  }
}

/** Makes a machine deliberately wrong: what it has decoded outlives what programs write over it. */
export function forgetful(machine: ProgramMachine): ProgramMachine {
  const { mmu, code } = machine.test.cpu;
  mmu.watcher = {
    hasCode: (page) => code.hasCode(page),
    // Writes from outside, between programs, have no record.
    mayWriteUnseen: (page) => code.mayWriteUnseen(page),
    written: (address, sizeBytes, record) => record !== 0 || code.written(address, sizeBytes, record),
    changed: () => undefined,
  };
  return machine;
}

/** Each program runs on all machines that `create` makes. */
export function programTarget(name: string, create: () => readonly ProgramMachine[]): FuzzTarget {
  let machines: { readonly keeping: readonly ProgramMachine[]; readonly afresh: ProgramMachine } | undefined;
  return inputTarget<Program>({
    name,
    generate: generateProgram,
    check(program) {
      machines ??= { keeping: create(), afresh: new ProgramMachine({ keepsBlocks: false }) };
      for (const keeping of machines.keeping) checkProgram(program, keeping, machines.afresh);
    },
    show: showProgram,
    shrink: shrinkProgram,
  });
}

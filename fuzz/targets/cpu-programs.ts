/**
 * Short programs on the software CPU, which change their own code, run through aliases and across pages, fault and go on
 * elsewhere. A machine that keeps what it has decoded must end as one that decodes each instruction afresh; and user code must
 * not change what is the supervisor's.
 */
import assert from 'node:assert/strict';
import { differences } from '../cpu-programs/compare.ts';
import { ProgramMachine } from '../cpu-programs/machine.ts';
import { generateProgram, imageOf, type Program, showProgram, shrinkProgram } from '../cpu-programs/program.ts';
import { type FuzzTarget, inputTarget } from '../target.ts';

/** Slices of instructions: branches that helpers make count more in one machine than in the other. */
const SLICES = { EXPECTED: 4, ACTUAL: 16, INTERRUPTED: 400 } as const;

function createKeeping(): ProgramMachine {
  return new ProgramMachine(true);
}

/** Deliberately wrong: decoded code outlives what programs write over it. */
function createForgetful(): ProgramMachine {
  const machine = createKeeping();
  const { mmu, code } = machine.test.cpu;
  mmu.watcher = {
    hasCode: (page) => code.hasCode(page),
    // Writes from outside, between programs, have no record.
    mayWriteUnseen: (page) => code.mayWriteUnseen(page),
    written: (address, sizeBytes, record) => record === 0 && code.written(address, sizeBytes, record),
    changed: () => undefined,
  };
  return machine;
}

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

function programTarget(create: () => ProgramMachine): FuzzTarget {
  let machines: { readonly keeping: ProgramMachine; readonly afresh: ProgramMachine } | undefined;
  return inputTarget<Program>({
    name: 'cpu-programs',
    generate: generateProgram,
    check(program) {
      machines ??= { keeping: create(), afresh: new ProgramMachine(false) };
      checkProgram(program, machines.keeping, machines.afresh);
    },
    show: showProgram,
    shrink: shrinkProgram,
  });
}

export const target = programTarget(createKeeping);
export const canary = programTarget(createForgetful);

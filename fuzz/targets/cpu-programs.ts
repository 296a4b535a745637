/**
 * Short programs on the software CPU, which change their own code, run through aliases and across pages, fault and go on
 * elsewhere. A machine that keeps what it has decoded must end as one that decodes each instruction afresh; and user code must
 * not change what is the supervisor's.
 */
import { ProgramMachine } from '../cpu-programs/machine.ts';
import { programTarget } from '../cpu-programs/program-target.ts';

const createKeeping = (): ProgramMachine => new ProgramMachine({ keepsBlocks: true });

/** Deliberately wrong: decoded code outlives what programs write over it. */
function createForgetful(): ProgramMachine {
  const machine = createKeeping();
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

export const target = programTarget('cpu-programs', () => [createKeeping()]);
export const canary = programTarget('cpu-programs', () => [createForgetful()]);

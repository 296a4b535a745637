/**
 * Short programs on the software CPU, which change their own code, run through aliases and across pages, fault and go on
 * elsewhere. A machine that keeps what it has decoded must end as one that decodes each instruction afresh; and user code must
 * not change what is the supervisor's.
 */
import { ProgramMachine } from '../cpu-programs/machine.ts';
import { forgetful, programTarget } from '../cpu-programs/program-target.ts';

const createKeeping = (): ProgramMachine => new ProgramMachine({ keepsBlocks: true });

export const target = programTarget('cpu-programs', () => [createKeeping()]);
export const canary = programTarget('cpu-programs', () => [forgetful(createKeeping())]);

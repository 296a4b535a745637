import { CodedError } from '#util/errors.ts';
import type { RunConfig } from './run-environment.ts';

/** What `crosvm run` says until the machine's devices and its vCPU loop are there. */
export class MachineIncompleteError extends CodedError<'MACHINE_INCOMPLETE'> {
  override readonly name = 'MachineIncompleteError';
}

/**
 * Runs one virtual machine. The CPU, the loaders and the boot structures exist; the interrupt controllers, timers, serial ports
 * and the loop that joins them do not yet, so that every run ends here with an operating error.
 */
export const runConfig: RunConfig = () => {
  throw new MachineIncompleteError(
    'MACHINE_INCOMPLETE',
    'this version cannot run a guest yet: its interrupt controllers, timers and serial ports are still to be built',
  );
};

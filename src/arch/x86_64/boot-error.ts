import { CodedError } from '#util/errors.ts';

/** Why a machine cannot be put together from what the user gave; the caller adds the option's name. */
export type BootErrorCode = 'COMMAND_LINE_TOO_LONG' | 'KERNEL_ENTRY_OUTSIDE_RAM' | 'BAD_CPU_COUNT' | 'BAD_MEMORY_SIZE';

export class BootError extends CodedError<BootErrorCode> {
  override readonly name = 'BootError';
}

/** What differs between the architectures that filters are made for. */
import { SYSTEM_CALLS as aarch64Calls } from './tables/aarch64-calls.generated.ts';
import { CONSTANTS as aarch64Constants } from './tables/aarch64-constants.generated.ts';
import { CONSTANTS as commonConstants } from './tables/common-constants.generated.ts';
import { SYSTEM_CALLS as x8664Calls } from './tables/x86_64-calls.generated.ts';
import { CONSTANTS as x8664Constants } from './tables/x86_64-constants.generated.ts';

export interface Architecture {
  readonly name: 'x86_64' | 'aarch64';
  /** `seccomp_data.arch`, uapi/linux/audit.h: ELF machine | __AUDIT_ARCH_64BIT | __AUDIT_ARCH_LE. */
  readonly auditArch: number;
  readonly systemCalls: ReadonlyMap<string, number>;
  readonly constants: ReadonlyMap<string, number>;
  /** Call numbers from here on are another calling convention's of the same `auditArch`. */
  readonly foreignCallsFrom?: number;
}

function merged(...tables: readonly Readonly<Record<string, number>>[]): ReadonlyMap<string, number> {
  return new Map(tables.flatMap((table) => Object.entries(table)));
}

export const X86_64: Architecture = {
  name: 'x86_64',
  auditArch: 0xc000_003e,
  systemCalls: merged(x8664Calls),
  constants: merged(commonConstants, x8664Constants),
  foreignCallsFrom: 0x4000_0000, // __X32_SYSCALL_BIT, asm/unistd.h: seccomp(2) warns to check it
};

export const AARCH64: Architecture = {
  name: 'aarch64',
  auditArch: 0xc000_00b7,
  systemCalls: merged(aarch64Calls),
  constants: merged(commonConstants, aarch64Constants),
};

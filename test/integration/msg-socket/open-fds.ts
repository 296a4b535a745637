import { readdirSync } from 'node:fs';

/** This process's open descriptors, to compare before and after. */
export function openFds(): string[] {
  return readdirSync('/proc/self/fd').sort();
}

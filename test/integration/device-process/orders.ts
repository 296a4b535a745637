/** Where the guest memory says what a device of escape-entry.ts does, and where that says what came of it. */
import { struct } from '#msg-socket/composites.ts';
import { bytesUpTo } from '#msg-socket/scalars.ts';
import { VirtioParameters } from '#vmm/devices/virtio-process.ts';
export const ORDERS = {
  ATTEMPT: 0,
  VICTIM: 4,
  RESULT: { rng: 8, block: 12, balloon: 16, console: 20, input: 24, pmem: 28, fs: 32, serial: 36 },
} as const;
/**
 * The kinds of devices of a machine with a disk, a shared directory, a virtio console, a keyboard, persistent memory and a serial port
 * with a process, in the order in which they are made.
 */
/** What the serial port of a prison is told: its own, and where the guest memory lies. */
export const PrisonSerial = struct({ own: bytesUpTo(1024), regions: VirtioParameters.fields.regions });

export const KINDS = ['rng', 'block', 'fs', 'console', 'input', 'pmem', 'balloon', 'serial'] as const;
export type Kind = (typeof KINDS)[number];
/** The exit status of a device that has made its attempt and lived. */
export const MADE = 44;

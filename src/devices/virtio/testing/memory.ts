import { GuestMemory } from '#memory/guest-memory.ts';

/** RAM from 0 to 64 KiB, and from 1 MiB on: with a hole. */
export const HOLE = { start: 0x1_0000, end: 0x10_0000 } as const;

export function createMemory(highBytes = 0x10_0000): GuestMemory {
  return GuestMemory.create([
    { start: 0, sizeBytes: HOLE.start },
    { start: HOLE.end, sizeBytes: highBytes },
  ]);
}

import { type AddressRange, EXTENDED_MEMORY_START, MP_TABLE_ADDRESS, memoryRanges, PCI_ECAM } from './layout.ts';

/** Address range types: ACPI 6.3 §15, table 15-374. */
export const E820_TYPE = { RAM: 1, RESERVED: 2, ACPI_RECLAIM: 3, ACPI_NVS: 4 } as const;
export type E820Type = (typeof E820_TYPE)[keyof typeof E820_TYPE];

export interface E820Entry extends AddressRange {
  readonly type: E820Type;
}

/**
 * The memory map that the kernel gets, ascending and without overlap. Base memory ends where the MP table starts, so that no
 * kernel overwrites the table before it has read it; from there to 1 MiB everything is reserved. So is the enhanced
 * configuration space of PCI, which kernels do not use unless firmware has reserved it.
 * @throws BootError `BAD_MEMORY_SIZE` as `memoryRanges`.
 */
export function e820Map(memorySizeBytes: number): E820Entry[] {
  const [low, ...high] = memoryRanges(memorySizeBytes);
  const lowEnd = low === undefined ? 0 : low.start + low.sizeBytes;
  return [
    entry(0, MP_TABLE_ADDRESS, E820_TYPE.RAM),
    entry(MP_TABLE_ADDRESS, EXTENDED_MEMORY_START, E820_TYPE.RESERVED),
    entry(EXTENDED_MEMORY_START, lowEnd, E820_TYPE.RAM),
    { ...PCI_ECAM, type: E820_TYPE.RESERVED },
    ...high.map((range) => ({ ...range, type: E820_TYPE.RAM })),
  ];
}

function entry(start: number, end: number, type: E820Type): E820Entry {
  return { start, sizeBytes: end - start, type };
}

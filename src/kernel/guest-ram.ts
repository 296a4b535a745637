/** What the loaders use of guest memory; GuestMemory is one. Addresses are guest-physical. */
export interface GuestRam {
  /** Ascending and disjoint. */
  readonly regions: readonly { readonly guestAddress: number; readonly sizeBytes: number }[];
  contains(address: number, sizeBytes: number): boolean;
  writeBytes(address: number, source: Uint8Array): void;
  fill(address: number, sizeBytes: number, byte: number): void;
}

/** Below this the boot protocol keeps its own: zero page, command line, page tables, and the PC's ROM and video holes. */
export const LOW_MEMORY_END = 0x10_0000;

export function ramSizeBytes(ram: Pick<GuestRam, 'regions'>): number {
  return ram.regions.reduce((sum, region) => sum + region.sizeBytes, 0);
}

import { assert } from '#util/assert.ts';
import { alignUp } from '#util/bits.ts';
import { SETUP_DATA_ADDRESS, SETUP_DATA_END } from './layout.ts';
import { concatBytes, u32, u64, zeros } from './table-bytes.ts';

/** Types of `struct setup_data`: Linux arch/x86/include/uapi/asm/setup_data.h. */
export const SETUP_DATA_TYPE = { DEVICE_TREE: 2, RNG_SEED: 9 } as const;

/** How many random bytes the kernel's generator starts with: one block of 256 bits would do, more costs nothing. */
export const RNG_SEED_SIZE = 64;

const ALIGNMENT = 8;

export interface SetupData {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface SetupDataChain {
  /** Address of the first entry, and where `bytes` go. */
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** Links the entries (`next`, `type`, `len`, data) one after another from SETUP_DATA_ADDRESS. There is at least one. */
export function setupDataChain(entries: readonly SetupData[]): SetupDataChain {
  assert(entries.length > 0, 'a chain of setup data has at least one entry');
  const parts: Uint8Array[] = [];
  let address = SETUP_DATA_ADDRESS;
  entries.forEach(({ type, data }, index) => {
    const unpadded = 8 + 4 + 4 + data.length;
    const sizeBytes = alignUp(unpadded, ALIGNMENT);
    const next = index === entries.length - 1 ? 0 : address + sizeBytes;
    parts.push(u64(next), u32(type), u32(data.length), data, zeros(sizeBytes - unpadded));
    address += sizeBytes;
  });
  assert(address <= SETUP_DATA_END, 'the setup data does not fit its area');
  return { address: SETUP_DATA_ADDRESS, bytes: concatBytes(...parts) };
}

import type { DebugFeatures } from '../debug.ts';

/** More would make each slow access slower, and sets of them long to compare. */
const HARDWARE_MAX = 64;
const WATCHED_BYTES_MAX = 2 ** 20;

/** The end of what has the same upper half of its address. */
const endOfHigh = (address: bigint): bigint => (address | 0xffff_ffffn) + 1n;

export const SOFTWARE_DEBUG_FEATURES: DebugFeatures = {
  hardwareMax: HARDWARE_MAX,
  needsInt3: false,
  canWatch: ({ address, sizeBytes }) =>
    sizeBytes > 0 && sizeBytes <= WATCHED_BYTES_MAX && address + BigInt(sizeBytes) <= endOfHigh(address),
};

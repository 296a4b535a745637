import type { Random } from './random.ts';

/** What a case does to a valid input. Each may change the length. */
type Mutation = (bytes: Uint8Array, random: Random) => Uint8Array;

/** Overwrites up to `bytes.length` from `at`; the field may lie anywhere, as bounds checks have to hold anywhere. */
function setBoundary(bytes: Uint8Array, random: Random): Uint8Array {
  const bits = random.pick([8, 16, 32, 64] as const);
  const width = bits / 8;
  if (bytes.length < width) return bytes;
  const field = new Uint8Array(8);
  new DataView(field.buffer).setBigUint64(0, random.boundary(bits), true);
  bytes.set(field.subarray(0, width), random.below(bytes.length - width + 1));
  return bytes;
}

const MUTATIONS: readonly Mutation[] = [
  (bytes, random) => {
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
    return bytes;
  },
  (bytes, random) => {
    bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  setBoundary,
  setBoundary,
  (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  (bytes, random) => Buffer.concat([bytes, random.bytes(random.below(64))]),
  (bytes, random) => {
    const from = random.below(bytes.length);
    const to = random.below(bytes.length);
    return bytes.copyWithin(to, from, from + random.below(64));
  },
  (bytes, random) => {
    const at = random.below(bytes.length);
    return bytes.fill(random.pick([0x00, 0xff, random.below(256)]), at, Math.min(at + random.below(64), bytes.length));
  },
];

/** A copy of `bytes` with one to eight changes. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let mutated: Uint8Array = Uint8Array.from(bytes);
  for (let changes = random.between(1, 8); changes > 0 && mutated.length > 0; changes--) {
    mutated = random.pick(MUTATIONS)(mutated, random);
  }
  return mutated;
}

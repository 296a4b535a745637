/**
 * The random numbers of a fuzz case. The same seed and case number give the same numbers on every machine.
 *
 * Generator: xoshiro128** 1.1; its state is filled by splitmix32 from seed and case (Blackman and Vigna, prng.di.unimi.it).
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** `seed` is a u32. Cases of one seed do not resemble each other. */
  constructor(seed: number, caseNumber = 0) {
    let state = Math.imul(caseNumber, 0x85eb_ca6b) ^ seed;
    const splitmix = (): number => {
      state = (state + 0x9e37_79b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
      return mixed ^ (mixed >>> 15);
    };
    this.#a = splitmix();
    this.#b = splitmix();
    this.#c = splitmix();
    // The all-zero state would stay so.
    this.#d = splitmix() | 1;
  }

  u32(): number {
    const scrambled = Math.imul(this.#b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9);
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result >>> 0;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** 0 to `limit` - 1; `limit` is at least 1 and at most 2^32. */
  below(limit: number): number {
    return Math.floor((this.u32() / 2 ** 32) * limit);
  }

  /** `from` to `to`, both included. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** True once in `times` on average. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new RangeError('nothing to pick from');
    return choices[this.below(choices.length)] as T;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.u32() >>> 24;
    return bytes;
  }

  /** An unsigned number of `bits` bits (8, 16, 32 or 64), most often one at which bounds checks go wrong. */
  boundary(bits: 8 | 16 | 32 | 64): bigint {
    if (this.oneIn(4)) return BigInt.asUintN(bits, this.u64());
    const power = 1n << BigInt(this.below(bits + 1));
    return BigInt.asUintN(bits, power + BigInt(this.between(-2, 2)));
  }
}

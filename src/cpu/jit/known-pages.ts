/** The pages that a region has last accessed through each register, in locals: most accesses go to the same page as the one before. */
import type { FunctionBuilder, Label, Local } from '#wasm/function-builder.ts';
import { TLB } from '../layout.ts';
import { OTHER_POINTER } from './operands.ts';

/** What the TLB says of one page. Equal to no address without the bits within a page when there is none. */
interface KnownPage {
  readonly read: Local;
  readonly write: Local;
  readonly addend: Local;
}

const NONE = -1n;

/**
 * What is known is forgotten wherever TypeScript runs: nothing else changes the TLB, or takes away the right to write to a page. An entry
 * that is displaced may be known still: a TLB may have any number of entries.
 */
export class KnownPages {
  readonly #f: FunctionBuilder;
  readonly #pages: readonly (KnownPage | undefined)[];

  /** `pointers` are the registers, or OTHER_POINTER, through which the region accesses memory, as a set of bits. */
  constructor(f: FunctionBuilder, pointers: number) {
    this.#f = f;
    const create = (): KnownPage => ({ read: f.local('i64'), write: f.local('i64'), addend: f.local('i32') });
    this.#pages = Array.from({ length: OTHER_POINTER + 1 }, (_, n) => ((pointers >> n) & 1 ? create() : undefined));
  }

  forget(): void {
    for (const page of this.#pages) {
      if (page !== undefined) this.#f.i64(NONE).tee(page.read).set(page.write);
    }
  }

  /** Goes to `found` with the place in `place` if an aligned access to `address` stays in the page. */
  lookup(
    pointer: number,
    sizeBytes: number,
    write: boolean,
    access: { address: Local; place: Local; found: Label },
  ): void {
    const page = this.#pages[pointer];
    if (page === undefined || (sizeBytes & (sizeBytes - 1)) !== 0) return;
    const { address, place, found } = access;
    this.#f
      .get(address)
      .i64(~0xfffn | BigInt(sizeBytes - 1))
      .op('i64.and');
    this.#f
      .get(write ? page.write : page.read)
      .op('i64.eq')
      .if();
    this.#f.get(address).op('i32.wrap_i64').get(page.addend).op('i32.add').set(place).br(found);
    this.#f.end();
  }

  /** Keeps what an entry of the TLB says. */
  learn(pointer: number, entry: Local): void {
    const page = this.#pages[pointer];
    if (page === undefined) return;
    this.#f.get(entry).mem('i64.load', TLB.READ).set(page.read);
    this.#f.get(entry).mem('i64.load', TLB.WRITE).set(page.write);
    this.#f.get(entry).mem('i32.load', TLB.ADDEND).set(page.addend);
  }
}

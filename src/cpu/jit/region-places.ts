/** Where code of a region is in the address space: pages are found in the code TLB by their distance from where the region was entered. */
import type { FunctionBuilder, Local } from '#wasm/function-builder.ts';
import { CODE_TLB, STATE } from '../layout.ts';
import { offsetIn, type Place, pageOf } from './region-graph.ts';

export class RegionPlaces {
  readonly #f: FunctionBuilder;
  /** Where an indirect branch goes: an address, and the same as a place. */
  readonly #rip: Local;
  readonly #place: Local;
  /** Virtual address of the page that the region was entered in. */
  readonly #base: Local;
  /** An entry of the code TLB, and then the table that it leads to. */
  readonly #entry: Local;

  constructor(f: FunctionBuilder, rip: Local) {
    this.#f = f;
    this.#rip = rip;
    this.#place = f.local('i64');
    this.#base = f.local('i64');
    this.#entry = f.local('i32');
  }

  begin(): void {
    this.#f.i32(0).mem('i64.load', STATE.CODE_PAGE).set(this.#base);
  }

  /** Pushes the virtual address of a page of the region. */
  pageAt(page: number): FunctionBuilder {
    this.#f.get(this.#base);
    return page === 0 ? this.#f : this.#f.i64(4096n * BigInt(page)).op('i64.add');
  }

  /** Computes the place that an indirect branch goes to. */
  measure(): void {
    this.#f.get(this.#rip).get(this.#base).op('i64.sub').set(this.#place);
  }

  /** Compares that with a place. */
  goesTo(comparison: 'i64.eq' | 'i64.lt_s', place: Place): FunctionBuilder {
    return this.#f.get(this.#place).i64(BigInt(place)).op(comparison);
  }

  /** Makes another page the current one, as a look-up does; `leave` where it is mapped there no more, or this is not what is decoded at the place. */
  enter(place: Place, record: number, leave: () => void): void {
    const f = this.#f;
    this.#findTable(pageOf(place), leave);
    f.get(this.#entry)
      .mem('i32.load', 4 * offsetIn(place))
      .i32(record)
      .op('i32.ne')
      .if();
    leave();
    f.end();
    f.i32(0).get(this.#entry).mem('i32.store', STATE.CODE_TABLE);
    f.i32(0);
    this.pageAt(pageOf(place)).mem('i64.store', STATE.CODE_PAGE);
  }

  /** `leave` unless a page is known to be the one with this table. */
  unlessMapped(page: number, table: number, leave: () => void): void {
    this.#findTable(page, leave);
    this.#f.get(this.#entry).i32(table).op('i32.ne').if();
    leave();
    this.#f.end();
  }

  #findTable(page: number, leave: () => void): void {
    const f = this.#f;
    this.pageAt(page).op('i32.wrap_i64');
    f.i32(12 - CODE_TLB.ENTRY_SHIFT).op('i32.shr_u');
    f.i32((CODE_TLB.ENTRIES - 1) << CODE_TLB.ENTRY_SHIFT).op('i32.and');
    f.i32(0).mem('i32.load', STATE.CODE_TLB).op('i32.add').tee(this.#entry);
    f.mem('i64.load', CODE_TLB.PAGE);
    this.pageAt(page).op('i64.ne').if();
    f.get(this.#entry).i32(CODE_TLB.ALTERNATE).op('i32.xor').tee(this.#entry).mem('i64.load', CODE_TLB.PAGE);
    this.pageAt(page).op('i64.ne').if();
    leave();
    f.end().end();
    f.get(this.#entry).mem('i32.load', CODE_TLB.TABLE).set(this.#entry);
  }
}

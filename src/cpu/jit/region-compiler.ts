/** Writes regions as WebAssembly functions: blocks in structured control flow, loops as loops. */
import type { FunctionBuilder, Label } from '#wasm/function-builder.ts';
import { ModuleBuilder } from '#wasm/module-builder.ts';
import { CODE, EXIT } from '../layout.ts';
import { CMP_JCC, CMP_JCC_IMM, HELPER, TEST_JCC, TEST_JCC_IMM } from '../uops/control.ts';
import type { Routines } from '../uops/parts.ts';
import { allUops } from '../uops/registry.ts';
import { pointerOfRecord, registersOf } from './operands.ts';
import { RegionEmit } from './region-emit.ts';
import { offsetIn, type Place, pageOf, type Region, type RegionBlock } from './region-graph.ts';

/** What compiled code imports from module `env`, besides `memory`: functions with their parameters and results. */
const IMPORTS = {
  flags: [[], ['i32']],
  carry: [[], ['i32']],
  condition: [['i32'], ['i32']],
  helper: [['i32', 'i32'], ['i32']],
} as const;

const FUSED: ReadonlySet<number> = new Set(
  [CMP_JCC, TEST_JCC, CMP_JCC_IMM, TEST_JCC_IMM].flatMap((table) => [...table.values()]),
);

/** Where decoded records are read. */
export interface RecordViews {
  readonly view: DataView;
  readonly halves: Uint16Array;
}

/**
 * One region in one function, after Ramsey, "Beyond Relooper": each block stands behind the `block` that its dominator has opened for it, so that
 * branches forward leave that; branches back go to the `loop` around their target.
 */
class RegionWriter {
  readonly #region: Region;
  readonly #views: RecordViews;
  readonly #f: FunctionBuilder;
  readonly #e: RegionEmit;
  /** By block: where branches to it go, while that is open. */
  readonly #labels = new Map<number, Label>();
  readonly #loops = new Map<number, Label>();
  readonly #children: readonly number[][];
  #current = 0;

  constructor(region: Region, views: RecordViews, f: FunctionBuilder, routines: Routines) {
    this.#region = region;
    this.#views = views;
    this.#f = f;
    const { used, written, pointers } = this.#operands();
    this.#e = new RegionEmit({
      f,
      ...views,
      routines,
      ...{ used, written, pointers },
      branch: (record, target) => this.#branch(record, target),
      goIndirect: () => this.#goIndirect(),
    });
    this.#children = region.blocks.map(() => []);
    region.dominators.forEach((dominator, block) => {
      if (block > 0) (this.#children[dominator] as number[]).push(block);
    });
  }

  write(): void {
    this.#e.begin();
    this.#tree(0);
    this.#e.end();
  }

  #operands(): { readonly used: number; readonly written: number; readonly pointers: number } {
    const { halves } = this.#views;
    let [used, written, pointers] = [0, 0, 0];
    for (const { first, end } of this.#region.blocks) {
      for (let record = first; record < end; record += CODE.RECORD_SIZE) {
        const [u, w] = registersOf(halves, record);
        used |= u;
        written |= w;
        const pointer = pointerOfRecord(halves, record);
        if (pointer >= 0) pointers |= 1 << pointer;
      }
    }
    return { used, written, pointers };
  }

  /** A block and all that it dominates. */
  #tree(block: number): void {
    const f = this.#f;
    const isLoop = this.#region.loops.has(block);
    if (isLoop) this.#loops.set(block, f.loop());
    const children = this.#children[block] as number[];
    // The one that comes first stands innermost: branches from it reach the others.
    for (const child of children.toReversed()) this.#labels.set(child, f.block());
    this.#block(block);
    for (const child of children) {
      f.end();
      this.#labels.delete(child);
      this.#tree(child);
    }
    if (isLoop) f.end();
    this.#loops.delete(block);
  }

  #block(at: number): void {
    const { place: begin, entry, endsIn, first, end } = this.#region.blocks[at] as RegionBlock;
    const { halves } = this.#views;
    this.#current = at;
    this.#e.beginBlock(pageOf(begin));
    if (endsIn !== 0) this.#e.leaveUnlessMapped(pageOf(begin) + 1, endsIn, entry);
    let place = -1;
    for (let record = first; record < end; record += CODE.RECORD_SIZE) {
      const placeNow = halves[(CODE.PLACES + ((record - CODE.RECORDS) >> 3)) >> 1] as number;
      const operation = halves[record >> 1] as number;
      // A compare that its branch has taken in has its operands from the instruction before.
      this.#e.beginRecord(record, placeNow !== place && !FUSED.has(operation));
      place = placeNow;
      allUops()[operation]?.emit(this.#e);
      if (operation === HELPER) this.#e.leaveWhereChanged();
    }
  }

  /** The way to an offset, in or out of the page, of the block that a branch ends. */
  #branch(record: number, target: number): void {
    const { place } = this.#region.blocks[this.#current] as RegionBlock;
    const to = place - offsetIn(place) + target;
    if (this.#isWithin(to)) this.#go(to, () => this.#e.leave(EXIT.DIRECT, record));
    // Beyond the region; or back to where control has not necessarily come from.
    else this.#e.leave(EXIT.DIRECT, record);
  }

  /** The ways of a return or an indirect jump to where it may go within the region. */
  #goIndirect(): void {
    const { indirectTo } = this.#region.blocks[this.#current] as RegionBlock;
    const places = indirectTo.filter((place) => this.#isWithin(place));
    if (places.length > 0) this.#e.places.measure();
    this.#search(places.toSorted((a, b) => a - b));
  }

  #search(places: readonly Place[]): void {
    if (places.length <= 2) {
      for (const place of places) {
        this.#e.places.goesTo('i64.eq', place).if();
        this.#go(place, () => this.#e.leaveIndirect());
        this.#f.end();
      }
      return;
    }
    const middle = places.length >> 1;
    this.#e.places.goesTo('i64.lt_s', places[middle] as Place).if();
    this.#search(places.slice(0, middle));
    this.#f.else();
    this.#search(places.slice(middle));
    this.#f.end();
  }

  /** Whether control may go from the current block to this place without leaving the region. */
  #isWithin(place: Place): boolean {
    const to = this.#region.index.get(place);
    return to !== undefined && (to <= this.#current ? this.#loops : this.#labels).has(to);
  }

  #go(place: Place, leave: () => void): void {
    const to = this.#region.index.get(place) as number;
    const block = this.#region.blocks[to] as RegionBlock;
    const from = this.#region.blocks[this.#current] as RegionBlock;
    const isBack = to <= this.#current;
    if (isBack) this.#e.unlessBudget(leave);
    if (pageOf(place) !== pageOf(from.place)) this.#e.places.enter(place, block.entry, leave);
    this.#e.endBlock();
    this.#f.br((isBack ? this.#loops : this.#labels).get(to) as Label);
  }
}

/** A module that exports each region's function by its place in the list. */
export function encodeRegions(regions: readonly Region[], views: RecordViews): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const routines = Object.fromEntries(
    Object.entries(IMPORTS).map(([name, [parameters, results]]) => [
      name,
      module.importFunction('env', name, parameters, results),
    ]),
  ) as unknown as Routines;
  regions.forEach((region, at) => {
    const { index, body } = module.define(['i32'], ['i32']);
    new RegionWriter(region, views, body, routines).write();
    module.export(String(at), index);
  });
  return module.encode();
}

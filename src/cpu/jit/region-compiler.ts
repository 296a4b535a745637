/** Writes regions as WebAssembly functions: blocks in structured control flow, loops as loops. */
import type { FunctionBuilder, Label } from '#wasm/function-builder.ts';
import { ModuleBuilder } from '#wasm/module-builder.ts';
import { CODE, EXIT } from '../layout.ts';
import { CALL, CMP_JCC, CMP_JCC_IMM, HELPER, TEST_JCC, TEST_JCC_IMM } from '../uops/control.ts';
import type { Routines } from '../uops/emit.ts';
import { allUops } from '../uops/registry.ts';
import { registersOf } from './operands.ts';
import { RegionEmit } from './region-emit.ts';
import type { Region, RegionBlock } from './region-graph.ts';

/** What compiled code imports from module `env`, besides `memory`: functions with their parameters and results. */
const IMPORTS = {
  flags: [[], ['i32']],
  carry: [[], ['i32']],
  condition: [['i32'], ['i32']],
  slowLoad: [['i32', 'i32'], ['i32']],
  slowLoadForWrite: [['i32', 'i32'], ['i32']],
  slowStore: [['i32', 'i32'], ['i32']],
  slowLocked: [['i32', 'i32'], ['i32']],
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
    const [used, written] = this.#registers();
    this.#e = new RegionEmit({
      f,
      view: views.view,
      routines,
      used,
      written,
      branch: (record, target) => this.#branch(record, target),
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

  #registers(): readonly [used: number, written: number] {
    let [used, written] = [0, 0];
    for (const { first, end } of this.#region.blocks) {
      for (let record = first; record < end; record += CODE.RECORD_SIZE) {
        const [u, w] = registersOf(this.#views.halves, record);
        used |= u;
        written |= w;
      }
    }
    return [used, written];
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
    const { first, end } = this.#region.blocks[at] as RegionBlock;
    const { halves } = this.#views;
    this.#current = at;
    this.#e.beginBlock();
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

  #branch(record: number, target: number): void {
    const { index } = this.#region;
    // What is called comes back through an address, from wherever.
    const isCall = this.#views.halves[record >> 1] === CALL;
    const to = isCall ? undefined : index.get(target);
    const loop = to === undefined ? undefined : this.#loops.get(to);
    const label = to === undefined ? undefined : this.#labels.get(to);
    if (to !== undefined && loop !== undefined && to <= this.#current) {
      this.#e.leaveWithoutBudget(record);
      this.#f.br(loop);
    } else if (to !== undefined && label !== undefined && to > this.#current) this.#f.br(label);
    // Beyond the region; or back to where control has not necessarily come from.
    else this.#e.leave(EXIT.DIRECT, record);
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

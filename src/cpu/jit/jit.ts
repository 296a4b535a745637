/** The compiler of hot code: which blocks are compiled, when, and where what comes of it is kept. */
import { type CodePage, isBranchLink } from '../code-page.ts';
import type { Engine, EngineImports } from '../engine.ts';
import { CODE, RECORD, STATE } from '../layout.ts';
import { BLOCK, ENTER_REGION } from '../uops/control.ts';
import { encodeRegions } from './region-compiler.ts';
import { type Place, pageOf, type Region, type RegionLimits, type RegionSource, regionAt } from './region-graph.ts';

export interface JitOptions {
  /** How often a block runs before it is compiled; 0 to compile each as soon as it is decoded. */
  readonly threshold: number;
  readonly limits: RegionLimits;
  /** Regions that are compiled at most; when there are more, all are given up. */
  readonly regionsMax: number;
}

export const JIT_DEFAULTS: JitOptions = { threshold: 20_000, limits: { blocks: 32, records: 300 }, regionsMax: 20_000 };

/** A block that has run less than this part of the threshold is not made a part of another's region. */
const WARM_PART = 8;
/** Regions of one module: compiling each alone costs four times as much. */
const BATCH_MAX = 32;

interface HotBlock {
  readonly record: number;
  readonly code: CodePage;
  /** Where its page was when it ran, and by which code TLB its neighbours are found. */
  readonly pageLow: number;
  readonly pageHigh: number;
  readonly codeTlb: number;
}

interface CompiledRegion {
  readonly record: number;
  /** Its page, and then the others that it has code of. */
  readonly pages: readonly CodePage[];
  /** In the table of functions. */
  readonly place: number;
}

/** What is kept of decoded code. */
export interface DecodedCode {
  /** The page that has this table. */
  pageOf(table: number): CodePage | undefined;
  /** What a code TLB has for a virtual page: its table, or 0. */
  tableInTlb(codeTlb: number, pageLow: number, pageHigh: number): number;
  /** By the first record of an instruction that ends in another page, that page's physical address. */
  readonly secondPage: ReadonlyMap<number, number>;
}

export interface JitEnvironment {
  readonly memory: WebAssembly.Memory;
  readonly engine: Engine;
  readonly imports: EngineImports;
  readonly code: DecodedCode;
  readonly nowMs: () => number;
}

export class Jit {
  readonly options: JitOptions;
  readonly #words: Int32Array;
  readonly #halves: Uint16Array;
  readonly #view: DataView;
  readonly #table: WebAssembly.Table;
  readonly #imports: Record<string, Record<string, unknown>>;
  readonly #nowMs: () => number;
  #hot: HotBlock[] = [];
  /** Places in the table that are free. */
  readonly #free: number[] = [];
  /** By page, the regions that have code of it. */
  readonly #regions = new Map<CodePage, Set<CompiledRegion>>();
  readonly #code: DecodedCode;
  #regionCount = 0;
  /** For statistics: regions and bytes of WebAssembly made, and the time that it took. */
  compiled = 0;
  compiledBytes = 0;
  compileMs = 0;

  constructor(environment: JitEnvironment, options: JitOptions) {
    const { memory, engine, imports, code, nowMs } = environment;
    this.options = options;
    this.#words = new Int32Array(memory.buffer);
    this.#halves = new Uint16Array(memory.buffer, 0, CODE.TABLES / 2);
    this.#view = new DataView(memory.buffer);
    this.#table = engine.table;
    const { flags, carry, condition } = engine;
    this.#imports = { env: { memory, flags, carry, condition, helper: imports.helper } };
    this.#nowMs = nowMs;
    this.#code = code;
  }

  get hasWork(): boolean {
    return this.#hot.length > 0;
  }

  /** A block of this page, which code runs in now, has run often enough. */
  note(record: number, code: CodePage): void {
    const words = this.#words;
    const pageLow = words[STATE.CODE_PAGE >> 2] as number;
    const pageHigh = words[(STATE.CODE_PAGE >> 2) + 1] as number;
    this.#hot.push({ record, code, pageLow, pageHigh, codeTlb: words[STATE.CODE_TLB >> 2] as number });
  }

  /** Compiles what is hot; not while compiled code runs. */
  compile(): void {
    const startedMs = this.#nowMs();
    if (this.#regionCount >= this.options.regionsMax) this.#giveUpAll();
    for (const hot = this.#hot.splice(0); hot.length > 0; ) this.#compileBatch(hot.splice(0, BATCH_MAX));
    this.compileMs += this.#nowMs() - startedMs;
  }

  #compileBatch(blocks: readonly HotBlock[]): void {
    const batch: { readonly block: HotBlock; readonly region: Region }[] = [];
    for (const block of blocks) {
      const region = regionAt(this.#source(block), this.#offsetOf(block.record), this.options.limits);
      if (region !== null) batch.push({ block, region });
    }
    if (batch.length === 0) return;
    const views = { view: this.#view, halves: this.#halves };
    const bytes = encodeRegions(
      batch.map(({ region }) => region),
      views,
    );
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), this.#imports);
    for (const [at, { block, region }] of batch.entries()) this.#enter(block, region, exports[at]);
    this.compiled += batch.length;
    this.compiledBytes += bytes.length;
  }

  #offsetOf(record: number): number {
    return (this.#halves[(CODE.PLACES + ((record - CODE.RECORDS) >> 3)) >> 1] as number) & 0xfff;
  }

  #source(block: HotBlock): RegionSource {
    return {
      words: this.#words,
      tableOf: (pages) => this.#tableNear(block, pages),
      secondTableOf: (record, pages) => this.#secondTable(block, record, pages),
      warmIn: (pages) => this.#warmIn(this.#tableNear(block, pages), 4096 * pages),
      isBranch: isBranchLink,
      isWarm: (record) => this.#isWarm(record),
    };
  }

  #isWarm(record: number): boolean {
    const words = this.#words;
    const operation = (words[record >> 2] as number) & 0xffff;
    const { threshold } = this.options;
    const coldest = threshold - Math.floor(threshold / WARM_PART);
    return (
      operation === ENTER_REGION || (operation === BLOCK && (words[(record + RECORD.IMM) >> 2] as number) <= coldest)
    );
  }

  /** Places of warm blocks in a table whose page begins at a place. */
  #warmIn(table: number, place: Place): Place[] {
    const places: Place[] = [];
    for (let offset = 0; table !== 0 && offset < 4096; offset++) {
      const record = this.#words[(table >> 2) + offset] as number;
      if (record !== 0 && this.#isWarm(record)) places.push(place + offset);
    }
    return places;
  }

  /** The table of the page so many pages after a block's, as the code TLB has them; 0 where it has none, or the block's own no more. */
  #tableNear(block: HotBlock, pages: number): number {
    const { table } = block.code;
    if (pages === 0) return table;
    return this.#tableInTlb(block, 0) === table ? this.#tableInTlb(block, pages) : 0;
  }

  /** The table of the page that the instruction which begins with a record, in the page before, ends in; 0 where that is not known. */
  #secondTable(block: HotBlock, record: number, pages: number): number {
    const physical = this.#code.secondPage.get(record);
    const table = physical === undefined ? 0 : this.#tableNear(block, pages);
    return table !== 0 && this.#code.pageOf(table)?.page === physical ? table : 0;
  }

  #tableInTlb({ pageLow, pageHigh, codeTlb }: HotBlock, pages: number): number {
    const sum = (pageLow >>> 0) + 4096 * pages;
    const high = (pageHigh + Math.floor(sum / 2 ** 32)) | 0;
    return this.#code.tableInTlb(codeTlb, sum | 0, high);
  }

  #pagesOf(block: HotBlock, { blocks }: Region): readonly CodePage[] {
    const pages = new Set([block.code]);
    for (const { place } of blocks) {
      const code = this.#code.pageOf(this.#tableNear(block, pageOf(place)));
      if (code !== undefined) pages.add(code);
    }
    return [...pages];
  }

  /** From now on whoever comes to the block runs the function. */
  #enter(block: HotBlock, region: Region, run: unknown): void {
    const { record } = block;
    const place = this.#free.pop() ?? this.#table.grow(1);
    this.#table.set(place, run);
    this.#halves[record >> 1] = ENTER_REGION;
    this.#words[(record + RECORD.IMM) >> 2] = place;
    const compiled = { record, place, pages: this.#pagesOf(block, region) };
    for (const page of compiled.pages) {
      const regions = this.#regions.get(page) ?? new Set<CompiledRegion>();
      this.#regions.set(page, regions.add(compiled));
    }
    this.#regionCount++;
  }

  /** The page's decoded code has been forgotten: nobody comes to its blocks any more, and other pages' regions may not go on in them. */
  forget(code: CodePage): void {
    this.#hot = this.#hot.filter((hot) => hot.code !== code);
    for (const region of this.#regions.get(code) ?? []) this.#giveUp(region);
  }

  /** All decoded code has been forgotten. */
  forgetAll(): void {
    this.#hot = [];
    this.#giveUpAll();
  }

  #giveUpAll(): void {
    for (const regions of this.#regions.values()) for (const region of regions) this.#giveUp(region);
  }

  /** The block counts anew, if it still is one. */
  #giveUp(region: CompiledRegion): void {
    const { record, place, pages } = region;
    this.#halves[record >> 1] = BLOCK;
    this.#words[(record + RECORD.IMM) >> 2] = Math.max(1, this.options.threshold);
    for (const page of pages) {
      const regions = this.#regions.get(page);
      regions?.delete(region);
      if (regions?.size === 0) this.#regions.delete(page);
    }
    this.#table.set(place, null);
    this.#free.push(place);
    this.#regionCount--;
  }
}

/** The compiler of hot code: which blocks are compiled, when, and where what comes of it is kept. */
import { type CodePage, isBranchLink } from '../code-page.ts';
import type { Engine, EngineImports } from '../engine.ts';
import { CODE, RECORD } from '../layout.ts';
import { BLOCK, ENTER_REGION } from '../uops/control.ts';
import { encodeRegions } from './region-compiler.ts';
import { type Region, type RegionLimits, type RegionSource, regionAt } from './region-graph.ts';

export interface JitOptions {
  /** How often a block runs before it is compiled; 0 to compile each as soon as it is decoded. */
  readonly threshold: number;
  readonly limits: RegionLimits;
  /** Regions that are compiled at most; when there are more, all are given up. */
  readonly regionsMax: number;
}

export const JIT_DEFAULTS: JitOptions = { threshold: 20_000, limits: { blocks: 64, records: 600 }, regionsMax: 20_000 };

/** A block that has run less than this part of the threshold is not made a part of another's region. */
const WARM_PART = 8;
/** Regions of one module: compiling each alone costs four times as much. */
const BATCH_MAX = 32;

interface HotBlock {
  readonly record: number;
  readonly code: CodePage;
}

export interface JitEnvironment {
  readonly memory: WebAssembly.Memory;
  readonly engine: Engine;
  readonly imports: EngineImports;
  /** As of EngineImports, but says EXIT.CONTINUE, and stores nothing, where that would change code. */
  readonly slowStore: (record: number, sizeBytes: number) => number;
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
  /** By page, the places of its regions in the table and their records. */
  readonly #regions = new Map<CodePage, Map<number, number>>();
  #regionCount = 0;
  /** For statistics: regions and bytes of WebAssembly made, and the time that it took. */
  compiled = 0;
  compiledBytes = 0;
  compileMs = 0;

  constructor(environment: JitEnvironment, options: JitOptions) {
    const { memory, engine, imports, slowStore, nowMs } = environment;
    this.options = options;
    this.#words = new Int32Array(memory.buffer);
    this.#halves = new Uint16Array(memory.buffer, 0, CODE.TABLES / 2);
    this.#view = new DataView(memory.buffer);
    this.#table = engine.table;
    const { flags, carry, condition } = engine;
    const { slowLoad, slowLoadForWrite, slowLocked, helper } = imports;
    const functions = { flags, carry, condition, slowLoad, slowLoadForWrite, slowStore, slowLocked, helper };
    this.#imports = { env: { memory, ...functions } };
    this.#nowMs = nowMs;
  }

  get hasWork(): boolean {
    return this.#hot.length > 0;
  }

  /** A block of this page has run often enough. */
  note(record: number, code: CodePage): void {
    this.#hot.push({ record, code });
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
      const region = regionAt(this.#source(block.code), this.#offsetOf(block.record), this.options.limits);
      if (region !== null) batch.push({ block, region });
    }
    if (batch.length === 0) return;
    const views = { view: this.#view, halves: this.#halves };
    const bytes = encodeRegions(
      batch.map(({ region }) => region),
      views,
    );
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), this.#imports);
    for (const [at, { block }] of batch.entries()) this.#enter(block, exports[at]);
    this.compiled += batch.length;
    this.compiledBytes += bytes.length;
  }

  #offsetOf(record: number): number {
    return (this.#halves[(CODE.PLACES + ((record - CODE.RECORDS) >> 3)) >> 1] as number) & 0xfff;
  }

  #source(code: CodePage): RegionSource {
    const words = this.#words;
    const coldest = this.options.threshold - Math.floor(this.options.threshold / WARM_PART);
    return {
      words,
      table: code.table,
      isBranch: isBranchLink,
      isWarm: (record) =>
        ((words[record >> 2] as number) & 0xffff) === ENTER_REGION ||
        (words[(record + RECORD.IMM) >> 2] as number) <= coldest,
    };
  }

  /** From now on whoever comes to the block runs the function. */
  #enter({ record, code }: HotBlock, run: unknown): void {
    const place = this.#free.pop() ?? this.#table.grow(1);
    this.#table.set(place, run);
    this.#halves[record >> 1] = ENTER_REGION;
    this.#words[(record + RECORD.IMM) >> 2] = place;
    const regions = this.#regions.get(code) ?? new Map<number, number>();
    regions.set(record, place);
    this.#regions.set(code, regions);
    this.#regionCount++;
  }

  /** The page's decoded code has been forgotten: nobody comes to its blocks any more. */
  forget(code: CodePage): void {
    this.#hot = this.#hot.filter((hot) => hot.code !== code);
    const regions = this.#regions.get(code);
    if (regions === undefined) return;
    for (const place of regions.values()) this.#release(place);
    this.#regions.delete(code);
  }

  forgetAll(): void {
    this.#hot = [];
    for (const code of [...this.#regions.keys()]) this.forget(code);
  }

  #giveUpAll(): void {
    for (const regions of this.#regions.values()) {
      for (const record of regions.keys()) {
        this.#halves[record >> 1] = BLOCK;
        this.#words[(record + RECORD.IMM) >> 2] = this.options.threshold;
      }
    }
    const hot = this.#hot;
    this.forgetAll();
    this.#hot = hot;
  }

  #release(place: number): void {
    this.#table.set(place, null);
    this.#free.push(place);
    this.#regionCount--;
  }
}

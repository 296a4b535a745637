/** Decoded code, by physical page: finds it, makes it, and forgets it when its bytes change. */
import { assert } from '#util/assert.ts';
import { type CodePage, createCodePage, isBranchLink, isMarked } from './code-page.ts';
import type { CodeWatcher } from './code-watcher.ts';
import type { Engine } from './engine.ts';
import { MAX_LENGTH, NEED_MORE, TOO_LONG } from './isa/decoder.ts';
import { helperNumber } from './isa/helper-names.ts';
import { LOWERINGS } from './isa/lower.ts';
import { endBlock } from './isa/lower-common.ts';
import { Translator } from './isa/translator.ts';
import type { DecodedCode, Jit } from './jit/jit.ts';
import { CODE, CODE_CHUNK_SHIFT, CODE_KEY, CODE_TLB, codeTlbEntryOffset, RAM_BASE, RECORD, STATE } from './layout.ts';
import { ACCESS, type MemoryUnit } from './memory-unit.ts';
import type { GroupMember, ProcessorGroup } from './processor-group.ts';
import { isStackFault } from './stack-fault.ts';
import { VECTOR } from './system-state.ts';
import { BLOCK, HELPER, JMP } from './uops/control.ts';

/** Most instructions of a block without a branch: bounds the time to the next look at interrupts. */
const MAX_BLOCK = 64;
const CHUNK_SHIFT = CODE_CHUNK_SHIFT;
const CHUNK_WORDS = 2 ** CHUNK_SHIFT / 4;
const CODE_TLB_END = CODE_TLB.BASE + CODE_TLB.MODES * CODE_TLB.MODE_SIZE;

/** A block goes as far as it may and is found again; or it is one instruction, and is not. */
type BlockKind = 'whole' | 'single';

export interface CodeCacheOptions {
  /** False has every instruction decoded alone each time that it runs. */
  readonly keepsBlocks: boolean;
  readonly samePage: Engine['samePage'];
  /** Where other processors run over the same memory. */
  readonly group: ProcessorGroup | undefined;
}

export class CodeCache implements CodeWatcher, DecodedCode, GroupMember {
  readonly #kind: BlockKind;
  readonly #mmu: MemoryUnit;
  readonly #translator: Translator;
  /** By physical address of the page plus the CODE_KEY under which it was decoded. */
  readonly #pages = new Map<number, CodePage>();
  /** The same, by the number of its table. */
  readonly #byTable: CodePage[] = [];
  readonly #samePage: Engine['samePage'];
  readonly #hasCode: Uint8Array;
  readonly #crossing = new Uint8Array(32);
  /** Physical page that the second half of a page-crossing instruction came from, by record. */
  readonly secondPage = new Map<number, number>();
  /** Whether the invalidation under way has reached the page that code runs in. */
  #currentIsGone = false;
  readonly #group: ProcessorGroup | undefined;
  #jit: Jit | undefined;
  /** The code that runs has changed by another processor's doing: `settle` is to be called before the instruction after this one. */
  isStale = false;
  /** Places in pages where a debugger has breakpoints; whether instructions that are decoded alone have none. */
  breakpointOffsets: ReadonlySet<number> = new Set();
  ignoresBreakpoints = false;
  /** Decoded instructions and flushes of everything, for statistics. */
  decoded = 0;
  flushes = 0;

  constructor(memory: ArrayBuffer, mmu: MemoryUnit, { keepsBlocks, samePage, group }: CodeCacheOptions) {
    this.#kind = keepsBlocks ? 'whole' : 'single';
    this.#samePage = samePage;
    this.#mmu = mmu;
    this.#translator = new Translator(memory);
    this.#hasCode = new Uint8Array(Math.ceil(mmu.memoryEnd / 4096));
    mmu.watcher = this;
    this.#group = group;
    group?.join(this);
  }

  /** Blocks that are decoded from now on count how often they run. */
  compileWith(jit: Jit): void {
    this.#jit = jit;
  }

  /** The block at a record of the page that runs has run often enough. */
  hot(record: number): void {
    const code = this.pageOf(this.#mmu.words[STATE.CODE_TABLE >> 2] as number);
    if (code !== undefined) this.#jit?.note(record, code);
  }

  pageOf(table: number): CodePage | undefined {
    return this.#byTable[(table - CODE.TABLES) / CODE.TABLE_SIZE];
  }

  hasCode(physicalPage: number): boolean {
    return this.#hasCode[physicalPage / 4096] === 1;
  }

  mayWriteUnseen(physicalPage: number): boolean {
    return !this.hasCode(physicalPage) && (this.#group === undefined || this.#group.mayWriteUnseen(physicalPage));
  }

  changed(physicalAddress: number, sizeBytes: number): void {
    const end = physicalAddress + sizeBytes;
    for (let at = physicalAddress; this.#group !== undefined && at < end; ) {
      const offset = at % 4096;
      const next = Math.min(end, at - offset + 4096);
      this.#group.wrote(at - offset, offset, offset + next - at);
      at = next;
    }
  }

  pageTouched(page: number): void {
    this.#mmu.tlb.protect(page);
    for (let key = 0; key < CODE_KEY.COUNT; key++) {
      const code = this.#pages.get(page + key);
      if (code !== undefined) this.#compare(code);
    }
  }

  allTouched(): void {
    this.#mmu.tlb.flush();
    for (const code of this.#pages.values()) this.#compare(code);
  }

  #compare(code: CodePage): void {
    if (this.#unchanged(code)) return;
    this.#currentIsGone = false;
    this.#invalidate(code.page);
    this.isStale ||= this.#currentIsGone;
  }

  /** Has the instruction after the one at a record looked up again. */
  settle(record: number): void {
    this.isStale = false;
    this.#resyncAfter(record);
  }

  written(physicalAddress: number, sizeBytes: number, record: number): boolean {
    const page = physicalAddress - (physicalAddress % 4096);
    const first = (physicalAddress & 0xfff) >> CHUNK_SHIFT;
    const last = Math.min(63, ((physicalAddress & 0xfff) + sizeBytes - 1) >> CHUNK_SHIFT);
    for (let key = 0; key < CODE_KEY.COUNT; key++) {
      const code = this.#pages.get(page + key);
      for (let chunk = first; code !== undefined && chunk <= last; chunk++) {
        if (!isMarked(code, chunk)) continue;
        this.#currentIsGone = false;
        this.#invalidate(page);
        // Only within a page are blocks linked: any other one looks for the code of this page in its table.
        if (this.#currentIsGone) this.#resyncAfter(record);
        return true;
      }
    }
    return true;
  }

  /**
   * The record at RIP, decoded if need be; 0 after raising the fault of the fetch. Enters the page into the code TLB and makes
   * it the current one.
   */
  lookup(): number {
    const { words } = this.#mmu;
    this.isStale = false;
    words[STATE.CODE_CHANGED >> 2] = 0;
    const inTlb = this.#lookupInTlb();
    if (inTlb !== 0) return inTlb;
    const low = words[STATE.RIP >> 2] as number;
    const code = this.#enterPage();
    if (code === null) return 0;
    const known = words[(code.table >> 2) + (low & 0xfff)] as number;
    return known !== 0 ? known : this.#translate(code, low & 0xfff, this.#kind);
  }

  /** The record at RIP where the code TLB leads to one, as the engine finds it itself; else 0. */
  #lookupInTlb(): number {
    const { words } = this.#mmu;
    const low = words[STATE.RIP >> 2] as number;
    const high = this.#mmu.isLegacy ? 0 : (words[(STATE.RIP >> 2) + 1] as number);
    const table = this.tableInTlb(words[STATE.CODE_TLB >> 2] as number, low & ~0xfff, high);
    const record = table === 0 ? 0 : (words[(table >> 2) + (low & 0xfff)] as number);
    if (record === 0) return 0;
    words[(STATE.RIP >> 2) + 1] = high;
    words[STATE.CODE_PAGE >> 2] = low & ~0xfff;
    words[(STATE.CODE_PAGE >> 2) + 1] = high;
    words[STATE.CODE_TABLE >> 2] = table;
    return record;
  }

  /** What a code TLB has for a page: its table, or 0. */
  tableInTlb(codeTlb: number, pageLow: number, pageHigh: number): number {
    const { words } = this.#mmu;
    const first = (codeTlb + codeTlbEntryOffset(pageLow)) >> 2;
    let entry = first;
    if (words[entry] !== pageLow || words[entry + 1] !== pageHigh) entry = first ^ (CODE_TLB.ALTERNATE >> 2);
    if (words[entry] !== pageLow || words[entry + 1] !== pageHigh) return 0;
    return words[entry + (CODE_TLB.TABLE >> 2)] as number;
  }

  /** As `lookup`, for a block of one instruction that nobody else runs. */
  lookupSingle(): number {
    const low = this.#mmu.words[STATE.RIP >> 2] as number;
    const code = this.#enterPage();
    return code === null ? 0 : this.#translate(code, low & 0xfff, 'single');
  }

  /** What was decoded last. */
  get lastMnemonic(): string {
    return this.#translator.d.row.mnemonic;
  }

  /** Checks that the page after the current one is still what the crossing instruction at `record` was decoded from. */
  crossingHolds(record: number): boolean | null {
    const { words } = this.#mmu;
    const nextLow = ((words[STATE.CODE_PAGE >> 2] as number) + 0x1000) | 0;
    const high = this.#mmu.highAfter(nextLow - 0x1000, words[(STATE.CODE_PAGE >> 2) + 1] as number, 0x1000);
    const physical = this.#mmu.translate(nextLow, high, ACCESS.FETCH | this.#mmu.userBit);
    if (physical < 0) return null;
    if (this.secondPage.get(record) === physical && this.#startUnchanged(physical)) return true;
    const table = words[STATE.CODE_TABLE >> 2] as number;
    words[(table >> 2) + this.place(record)] = 0;
    return false;
  }

  /** Whether the access to an address that is not canonical was one to the stack. */
  faultIsOfStack(record: number): boolean {
    return isStackFault(this.#mmu, this.#translator.d, this.place(record));
  }

  /** Page offset of the instruction that a record belongs to. */
  place(record: number): number {
    return this.#places(record) & 0xfff;
  }

  /** Length of that instruction. */
  length(record: number): number {
    return this.#places(record) >> 12;
  }

  #places(record: number): number {
    const at = CODE.PLACES + ((record - CODE.RECORDS) >> 3);
    return (this.#mmu.bytes[at] as number) | ((this.#mmu.bytes[at + 1] as number) << 8);
  }

  /**
   * Compares what the code TLB leads to with memory, and forgets what is another now: after writes that nothing else told of. All at once, for
   * the pages that come next are most often those that ran last, and looking each up again costs as much as the comparison (decision 0014).
   */
  recheck(): void {
    const { words } = this.#mmu;
    for (let at = CODE_TLB.BASE; at < CODE_TLB_END; at += 1 << CODE_TLB.ENTRY_SHIFT) {
      const entry = at >> 2;
      // No page begins at -1.
      if (words[entry] === -1) continue;
      const code = this.pageOf(words[entry + (CODE_TLB.TABLE >> 2)] as number);
      if (code !== undefined && !this.#unchanged(code)) this.#invalidate(code.page);
    }
  }

  /** Forgets all decoded code. */
  flush(): void {
    this.flushes++;
    for (const code of this.#pages.values()) this.#disown(code.page);
    this.#mmu.bytes.fill(0, CODE.TABLES, CODE.TABLES + this.#pages.size * CODE.TABLE_SIZE);
    this.#pages.clear();
    this.#byTable.length = 0;
    this.secondPage.clear();
    this.#translator.next = CODE.RECORDS;
    this.#jit?.forgetAll();
    this.#mmu.tlb.flush();
  }

  /** The page that RIP is in, made the current one; null after a fault. */
  #enterPage(): CodePage | null {
    const { words } = this.#mmu;
    const low = words[STATE.RIP >> 2] as number;
    if (this.#mmu.isLegacy) words[(STATE.RIP >> 2) + 1] = 0;
    const high = words[(STATE.RIP >> 2) + 1] as number;
    const physical = this.#mmu.translate(low, high, ACCESS.FETCH | this.#mmu.userBit);
    if (physical < 0) return null;
    const page = physical - (physical % 4096);
    if (page + 4096 > this.#mmu.memoryEnd) {
      this.#mmu.raise(VECTOR.GP, 0);
      return null;
    }
    if (this.#full()) this.flush();
    const code = this.#page(page);
    this.#enter(code, low, high);
    return code;
  }

  #full(): boolean {
    const spare = CODE.RECORDS + CODE.RECORDS_SIZE - this.#translator.next;
    return spare < MAX_BLOCK * 16 * CODE.RECORD_SIZE || this.#pages.size >= CODE.MAX_PAGES;
  }

  /** The page's decoded code in the mode that is in force. */
  #page(page: number): CodePage {
    return this.#pages.get(page + this.#mmu.codeKey) ?? this.#create(page);
  }

  #create(page: number): CodePage {
    const index = this.#pages.size;
    const code = createCodePage(this.#mmu.words.buffer, page, index);
    this.#byTable[index] = code;
    this.#pages.set(page + this.#mmu.codeKey, code);
    return code;
  }

  #enter(code: CodePage, low: number, high: number): void {
    const { words } = this.#mmu;
    const codeTlb = words[STATE.CODE_TLB >> 2] as number;
    const pageLow = low & ~0xfff;
    if (this.tableInTlb(codeTlb, pageLow, high) !== code.table) {
      // Devices and other processes write RAM unseen: their writes are noticed here, when the page is mapped anew.
      if (!this.#unchanged(code)) this.#invalidate(code.page);
      const place = codeTlb + codeTlbEntryOffset(low);
      this.#mmu.tlb.makeRoom(place, pageLow, high);
      const entry = place >> 2;
      words[entry] = pageLow;
      words[entry + 1] = high;
      words[entry + (CODE_TLB.TABLE >> 2)] = code.table;
      this.#mmu.describeCodeEntry(place);
    }
    words[STATE.CODE_PAGE >> 2] = pageLow;
    words[(STATE.CODE_PAGE >> 2) + 1] = high;
    words[STATE.CODE_TABLE >> 2] = code.table;
  }

  /** Whether a page begins as it did when an instruction that reaches into it was decoded. Devices write RAM unseen. */
  #startUnchanged(page: number): boolean {
    const code = this.#pages.get(page + this.#mmu.codeKey);
    if (code === undefined || !isMarked(code, 0)) return false;
    const host = (RAM_BASE + page) >>> 2;
    for (let i = 0; i < CHUNK_WORDS; i++) if (this.#mmu.words[host + i] !== code.copy[i]) return false;
    return true;
  }

  #unchanged({ page, chunks, copy }: CodePage): boolean {
    return this.#samePage(RAM_BASE + page, copy.byteOffset, chunks.byteOffset) !== 0;
  }

  /** Forgets what was decoded from this physical page, in every mode. */
  #invalidate(page: number): void {
    this.#disown(page);
    for (let key = 0; key < CODE_KEY.COUNT; key++) {
      const code = this.#pages.get(page + key);
      if (code === undefined) continue;
      this.#currentIsGone ||= code.table === this.#mmu.words[STATE.CODE_TABLE >> 2];
      this.#mmu.bytes.fill(0, code.table, code.table + CODE.TABLE_SIZE);
      code.chunks.fill(0);
      this.#jit?.forget(code);
      const dependents = [...code.dependents];
      code.dependents.clear();
      for (const other of dependents) this.#invalidate(other.page);
    }
  }

  #disown(page: number): void {
    if (this.#hasCode[page / 4096] === 0) return;
    this.#hasCode[page / 4096] = 0;
    this.#group?.release(page);
  }

  /** Code of this physical page is about to be decoded: from now on nobody writes it unseen. */
  #own(page: number): void {
    // What others ask meanwhile may have this page disowned.
    while (this.#hasCode[page / 4096] === 0) {
      this.#hasCode[page / 4096] = 1;
      this.#mmu.tlb.protect(page);
      this.#group?.claim(page);
    }
  }

  /** Makes the instruction after the one at `record` look up its code again. */
  #resyncAfter(record: number): void {
    if (record === 0) return;
    const { words } = this.#mmu;
    const place = this.#places(record);
    words[STATE.CODE_CHANGED >> 2] = 1;
    let next = record;
    while (this.#places(next) === place) {
      if (isBranchLink(words[next >> 2] as number)) words[(next + RECORD.IMM) >> 2] = 0;
      next += CODE.RECORD_SIZE;
    }
    words[next >> 2] = HELPER;
    words[(next + RECORD.IMM) >> 2] = helperNumber('resync');
    // Where to go on is not the place of the record that gives way: that may be the branch of a fused compare, or the end of the page.
    words[(next + RECORD.IMM_HIGH) >> 2] = this.place(record) + this.length(record);
  }

  #mark(code: CodePage, from: number, to: number): void {
    for (let chunk = from >> CHUNK_SHIFT; chunk <= (to - 1) >> CHUNK_SHIFT; chunk++) {
      if (isMarked(code, chunk)) continue;
      code.chunks[chunk >> 5] = (code.chunks[chunk >> 5] as number) | (1 << (chunk & 31));
      const host = ((RAM_BASE + code.page) >>> 2) + chunk * CHUNK_WORDS;
      code.copy.set(this.#mmu.words.subarray(host, host + CHUNK_WORDS), chunk * CHUNK_WORDS);
    }
  }

  /** Decodes a block that starts at this page offset; returns its first record, or 0 after a fault of the fetch. */
  #translate(code: CodePage, start: number, kind: BlockKind): number {
    const t = this.#translator;
    const { words } = this.#mmu;
    const first = t.next;
    const host = RAM_BASE + code.page;
    this.#own(code.page);
    t.begin(this.#mmu.codeKey);
    t.offset = start;
    const jit = kind === 'whole' ? this.#jit : undefined;
    if (jit !== undefined) t.pure(BLOCK, 0, 0, 0, jit.options.threshold, helperNumber('hot'));
    while (!t.ended) {
      this.#group?.reads(code.page, t.offset, Math.min(4096, t.offset + MAX_LENGTH));
      const result = t.d.decode(host + t.offset, host + 4096, this.#mmu.bytes);
      t.count++;
      if (result === NEED_MORE) {
        t.next = t.offset === start ? first : t.next;
        if (t.offset === start) return this.#translateCrossing(code, start, kind);
        t.d.length = 0;
        endBlock(t);
        break;
      }
      this.#lower(result);
      // Bytes that are no instruction may become one by any of those that could belong to it.
      this.#mark(code, t.offset, Math.min(4096, t.offset + (result > 0 ? result : MAX_LENGTH)));
      t.offset += t.d.length;
      const joins = t.offset < 4096 && words[(code.table >> 2) + t.offset] !== 0;
      if (!t.ended && (kind === 'single' || t.count >= MAX_BLOCK || joins || t.offset === 4096)) {
        t.d.length = 0;
        endBlock(t);
      }
    }
    t.sentinel();
    this.#keep(code, start, first, kind);
    if (jit?.options.threshold === 0) jit.note(first, code);
    return first;
  }

  /** Enters a block into its page's table, or leaves its records to whoever comes next. */
  #keep(code: CodePage, start: number, first: number, kind: BlockKind): void {
    if (kind === 'whole') this.#mmu.words[(code.table >> 2) + start] = first;
    else this.#translator.next = first;
  }

  #lower(result: number): void {
    const t = this.#translator;
    this.decoded++;
    if (this.breakpointOffsets.has(t.offset) && !this.ignoresBreakpoints) t.helper(helperNumber('breakpoint'));
    if (result > 0) {
      const lowering = LOWERINGS[t.d.row.mnemonic];
      assert(lowering !== undefined, `no lowering for ${t.d.row.mnemonic}`);
      lowering(t, t.d.row);
      return;
    }
    t.d.length = 1;
    t.helper(helperNumber(result === TOO_LONG ? 'generalProtection' : 'undefined'));
    t.put(JMP, 0, 0, t.count, 0, t.offset);
    t.ended = true;
  }

  /** An instruction whose bytes lie in two pages: a block of its own that first checks that the second is still there. */
  #translateCrossing(code: CodePage, start: number, kind: BlockKind): number {
    const t = this.#translator;
    const { words, bytes } = this.#mmu;
    const nextLow = ((words[STATE.CODE_PAGE >> 2] as number) + 0x1000) | 0;
    const high = this.#mmu.highAfter(nextLow - 0x1000, words[(STATE.CODE_PAGE >> 2) + 1] as number, 0x1000);
    const second = this.#mmu.translate(nextLow, high, ACCESS.FETCH | this.#mmu.userBit);
    if (second < 0) return 0;
    if (second + 4096 > this.#mmu.memoryEnd) {
      this.#mmu.raise(VECTOR.GP, 0);
      return 0;
    }
    const inFirst = 4096 - start;
    // What is known of the second page may be of other bytes. Before both are owned: with it goes what depends on it, such as this page.
    if (!this.#startUnchanged(second)) this.#invalidate(second);
    this.#own(second);
    this.#own(code.page);
    this.#group?.reads(code.page, start, 4096);
    this.#group?.reads(second, 0, MAX_LENGTH);
    this.#crossing.set(bytes.subarray(RAM_BASE + code.page + start, RAM_BASE + code.page + 4096));
    this.#crossing.set(bytes.subarray(RAM_BASE + second, RAM_BASE + second + 16), inFirst);
    const result = t.d.decode(0, inFirst + 16, this.#crossing);
    const first = t.next;
    t.offset = start;
    if (result < 0) t.d.length = 1;
    t.helper(helperNumber('crossPage'));
    this.#lower(result);
    if (!t.ended) endBlock(t);
    t.sentinel();
    const other = this.#page(second);
    other.dependents.add(code);
    this.#mark(code, start, 4096);
    this.#mark(other, 0, Math.max(1, t.d.length - inFirst));
    this.secondPage.set(first, second);
    this.#keep(code, start, first, kind);
    return first;
  }
}

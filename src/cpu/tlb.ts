/** The translation look-aside buffers of data and code, which the engine reads: what is forgotten, and when. */
import { ACCESS_MODE, CODE_TLB, codeTlbEntryOffset, RAM_BASE, TLB, tlbEntryOffset } from './layout.ts';

const TLB_END = TLB.BASE + TLB.MODES * TLB.MODE_SIZE;
/** From here on: user mode's and legacy code's. */
const USER_TLB = TLB.BASE + ACCESS_MODE.USER * TLB.MODE_SIZE;
const LEGACY_TLB = TLB.BASE + ACCESS_MODE.LEGACY * TLB.MODE_SIZE;
const USER_CODE_TLB = CODE_TLB.BASE + CODE_TLB.MODE_SIZE;
const LEGACY_CODE_TLB = CODE_TLB.BASE + 2 * CODE_TLB.MODE_SIZE;
const CODE_TLB_END = CODE_TLB.BASE + CODE_TLB.MODES * CODE_TLB.MODE_SIZE;

/** Where parts of pages of more than 4 KiB may be: halves of the address space, and whether a write of CR3 keeps them. */
const LARGES = { LOWER: 1, LOWER_GLOBAL: 2, UPPER: 4 } as const;
/** Entries that are kept track of, for a write of CR3 to forget them alone. */
const PASSING_MAX = 512;

export class Tlb {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** A sum of LARGES. */
  #larges = 0;
  /** Places of entries that a write of CR3 forgets, while there is room for them. */
  readonly #passing = new Int32Array(PASSING_MAX);
  #passingCount = 0;

  constructor(memory: ArrayBuffer) {
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory);
  }

  /** Forgets every translation, of data and of code. */
  flush(): void {
    this.#larges = 0;
    this.#passingCount = 0;
    this.bytes.fill(0xff, TLB.BASE, TLB_END);
    this.bytes.fill(0xff, CODE_TLB.BASE, CODE_TLB_END);
  }

  /** Forgets what legacy code has looked up. */
  flushLegacy(): void {
    this.bytes.fill(0xff, LEGACY_TLB, TLB_END);
    this.bytes.fill(0xff, LEGACY_CODE_TLB, CODE_TLB_END);
  }

  /** Forgets all but what global pages gave. User mode has no global pages worth keeping. */
  flushNonGlobal(): void {
    this.#larges &= ~LARGES.LOWER;
    if (this.#passingCount > PASSING_MAX) {
      for (let at = TLB.BASE; at < TLB_END; at += 1 << TLB.ENTRY_SHIFT) this.#forgetIfPassing(at);
      for (let at = CODE_TLB.BASE; at < CODE_TLB_END; at += 1 << CODE_TLB.ENTRY_SHIFT) this.#forgetIfPassing(at);
    } else for (let i = 0; i < this.#passingCount; i++) this.#forgetIfPassing(this.#passing[i] as number);
    this.#passingCount = 0;
  }

  #forgetIfPassing(at: number): void {
    if (this.#isPassing(at)) this.#forgetEntry(at);
  }

  #forgetEntry(at: number): void {
    this.bytes.fill(0xff, at, at + (at < TLB_END ? TLB.ADDEND : CODE_TLB.TABLE));
  }

  /** Whether a write of CR3 forgets the entry at a place. */
  #isPassing(at: number): boolean {
    if (at < TLB_END) return at >= USER_TLB || this.words[(at + TLB.GLOBAL) >> 2] !== 1;
    return at >= USER_CODE_TLB || this.bytes[at + CODE_TLB.GLOBAL] !== 1;
  }

  /** To be called for each entry once all of it is written, with its place. */
  entered(at: number): void {
    if (!this.#isPassing(at)) return;
    if (this.#passingCount < PASSING_MAX) this.#passing[this.#passingCount] = at;
    if (this.#passingCount <= PASSING_MAX) this.#passingCount++;
  }

  /**
   * Has the entry of another page whose first place this is, in the data or a code TLB, move to its alternate. One that is here in the second
   * place already is given up: *measured*, one that nobody used went to and fro, and evicted one of two at each turn.
   */
  makeRoom(at: number, pageLow: number, pageHigh: number): void {
    const { words } = this;
    const w = at >> 2;
    const [low, high] = [words[w] as number, words[w + 1] as number];
    if ((low === pageLow && high === pageHigh) || (low & high) === -1) return;
    const isData = at < TLB_END;
    const first = isData ? tlbEntryOffset(low) : codeTlbEntryOffset(low);
    if (first !== (at & ((isData ? TLB.MODE_SIZE : CODE_TLB.MODE_SIZE) - 1))) return;
    const other = at ^ (isData ? TLB.ALTERNATE : CODE_TLB.ALTERNATE);
    words.copyWithin(other >> 2, w, w + (1 << ((isData ? TLB.ENTRY_SHIFT : CODE_TLB.ENTRY_SHIFT) - 2)));
    this.entered(other);
  }

  /** Forgets the translation of one page, of whatever size: all entries that came from it. */
  flushPage(low: number, high: number): void {
    // A page of 4 KiB has two places in each TLB; parts of larger ones are anywhere.
    if ((this.#larges & (high < 0 ? LARGES.UPPER : LARGES.LOWER | LARGES.LOWER_GLOBAL)) !== 0) {
      for (let at = TLB.BASE; at < TLB_END; at += 1 << TLB.ENTRY_SHIFT) this.#forgetIfOf(at, low, high);
      for (let at = CODE_TLB.BASE; at < CODE_TLB_END; at += 1 << CODE_TLB.ENTRY_SHIFT) this.#forgetIfOf(at, low, high);
      return;
    }
    const data = TLB.BASE + tlbEntryOffset(low);
    for (let at = data; at < TLB_END; at += TLB.MODE_SIZE) {
      this.#forgetIfOf(at, low, high);
      this.#forgetIfOf(at ^ TLB.ALTERNATE, low, high);
    }
    const code = CODE_TLB.BASE + codeTlbEntryOffset(low);
    for (let at = code; at < CODE_TLB_END; at += CODE_TLB.MODE_SIZE) {
      this.#forgetIfOf(at, low, high);
      this.#forgetIfOf(at ^ CODE_TLB.ALTERNATE, low, high);
    }
  }

  /** Forgets an entry if it came from the page that an address is in. */
  #forgetIfOf(at: number, low: number, high: number): void {
    const { words, bytes } = this;
    const w = at >> 2;
    const shift =
      at < TLB_END ? (words[(at + TLB.PAGE_SHIFT) >> 2] as number) : (bytes[at + CODE_TLB.PAGE_SHIFT] as number);
    // An entry that is not in use has no such address.
    if (((((words[w] as number) ^ low) >>> shift) | ((words[w + 1] as number) ^ high)) === 0) this.#forgetEntry(at);
  }

  /** Keeps in mind that a part of a page of more than 4 KiB has been entered, from the upper half of its address. */
  noteLarge(high: number, isGlobal: boolean): void {
    this.#larges |= high < 0 ? LARGES.UPPER : isGlobal ? LARGES.LOWER_GLOBAL : LARGES.LOWER;
  }

  /** Takes the writable translations of this physical page away, so that writes come through the slow path. */
  protect(physicalPage: number): void {
    const { words } = this;
    for (let at = TLB.BASE; at < TLB_END; at += 1 << TLB.ENTRY_SHIFT) {
      const w = at >> 2;
      if (words[w + 1 + 2] === -1 && words[w + 2] === -1) continue;
      const host = ((words[w + 2] as number) + (words[w + (TLB.ADDEND >> 2)] as number)) >>> 0;
      if (host === (RAM_BASE + physicalPage) >>> 0) {
        words[w + (TLB.WRITE >> 2)] = -1;
        words[w + (TLB.WRITE >> 2) + 1] = -1;
      }
    }
  }
}

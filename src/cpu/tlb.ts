/** The translation look-aside buffers of data and code, which the engine reads: what is forgotten, and when. */
import { ACCESS_MODE, CODE_TLB, RAM_BASE, TLB, tlbEntryOffset } from './layout.ts';

const TLB_END = TLB.BASE + TLB.MODES * TLB.MODE_SIZE;
/** From here on: user mode's and legacy code's. */
const USER_TLB = TLB.BASE + ACCESS_MODE.USER * TLB.MODE_SIZE;
const LEGACY_TLB = TLB.BASE + ACCESS_MODE.LEGACY * TLB.MODE_SIZE;
const LEGACY_CODE_TLB = CODE_TLB.BASE + 2 * CODE_TLB.MODE_SIZE;
const CODE_TLB_END = CODE_TLB.BASE + CODE_TLB.MODES * CODE_TLB.MODE_SIZE;

/** Where parts of pages of more than 4 KiB may be: halves of the address space, and whether a write of CR3 keeps them. */
const LARGES = { LOWER: 1, LOWER_GLOBAL: 2, UPPER: 4 } as const;

export class Tlb {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** A sum of LARGES. */
  #larges = 0;

  constructor(memory: ArrayBuffer) {
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory);
  }

  /** Forgets every translation, of data and of code. */
  flush(): void {
    this.#larges = 0;
    this.bytes.fill(0xff, TLB.BASE, TLB_END);
    this.bytes.fill(0xff, CODE_TLB.BASE, CODE_TLB_END);
  }

  /** Forgets what legacy code has looked up. */
  flushLegacy(): void {
    this.bytes.fill(0xff, LEGACY_TLB, TLB_END);
    this.bytes.fill(0xff, LEGACY_CODE_TLB, CODE_TLB_END);
  }

  /** Forgets all but what global pages gave. */
  flushNonGlobal(): void {
    this.#larges &= ~LARGES.LOWER;
    // User mode has no global pages worth keeping.
    const { words, bytes } = this;
    bytes.fill(0xff, USER_TLB, TLB_END);
    for (let at = TLB.BASE; at < USER_TLB; at += 1 << TLB.ENTRY_SHIFT) {
      if (words[(at + TLB.GLOBAL) >> 2] === 1) continue;
      const w = at >> 2;
      words[w + 1] = -1;
      words[w] = -1;
      words[w + 2] = -1;
      words[w + 3] = -1;
    }
    const userCode = CODE_TLB.BASE + CODE_TLB.MODE_SIZE;
    bytes.fill(0xff, userCode, CODE_TLB_END);
    for (let at = CODE_TLB.BASE; at < userCode; at += 1 << CODE_TLB.ENTRY_SHIFT) {
      if (bytes[at + CODE_TLB.GLOBAL] === 1) continue;
      words[at >> 2] = -1;
      words[(at >> 2) + 1] = -1;
    }
  }

  /** Forgets the translation of one page, of whatever size: all entries that came from it. */
  flushPage(low: number, high: number): void {
    const { words, bytes } = this;
    // An entry that is not in use has no such address.
    const isOf = (w: number, shift: number): boolean =>
      ((((words[w] as number) ^ low) >>> shift) | ((words[w + 1] as number) ^ high)) === 0;
    // A page of 4 KiB has one place in each TLB; parts of larger ones are anywhere.
    const all = (this.#larges & (high < 0 ? LARGES.UPPER : LARGES.LOWER | LARGES.LOWER_GLOBAL)) !== 0;
    const page = all ? 0 : low >>> 12;
    const step = all ? 1 << TLB.ENTRY_SHIFT : TLB.MODE_SIZE;
    for (let at = TLB.BASE + (all ? 0 : tlbEntryOffset(low)); at < TLB_END; at += step) {
      if (isOf(at >> 2, words[(at + TLB.PAGE_SHIFT) >> 2] as number)) bytes.fill(0xff, at, at + 16);
    }
    const codeStep = all ? 1 << CODE_TLB.ENTRY_SHIFT : CODE_TLB.MODE_SIZE;
    const firstCode = CODE_TLB.BASE + ((page & (CODE_TLB.ENTRIES - 1)) << CODE_TLB.ENTRY_SHIFT);
    for (let at = firstCode; at < CODE_TLB_END; at += codeStep) {
      if (isOf(at >> 2, bytes[at + CODE_TLB.PAGE_SHIFT] as number)) bytes.fill(0xff, at, at + 8);
    }
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

/**
 * Address translation, the TLB's fills, and accesses that the engine's fast path cannot do. What is called a physical address here
 * is a place of the AddressMap: RAM's own addresses, and others for what lies elsewhere.
 */
import { assert } from '#util/assert.ts';
import type { AddressMap, MappedRegion } from './address-map.ts';
import { codeKey, isChecked } from './code-key.ts';
import { type CodeWatcher, NO_WATCHER } from './code-watcher.ts';
import { ACCESS_MODE, CODE_KEY, CODE_TLB, FLAG, RAM_BASE, STATE, TLB, tlbEntryOffset } from './layout.ts';
import {
  ADDRESS_HIGH,
  isCanonical,
  markEntry,
  NX_HIGH,
  PTE,
  RESERVED_4M,
  RESERVED_HIGH,
  RESERVED_LARGE,
} from './page-entry.ts';
import { CR0, CR4, EFER, PF, type SystemState, VECTOR } from './system-state.ts';
import { Tlb } from './tlb.ts';
import { WATCH, type Watchpoints } from './watchpoints.ts';

/** What lies at physical addresses outside RAM. `data` holds the 1, 2, 4 or 8 bytes of the access, little endian. */
export interface PhysicalDevices {
  read(address: number, data: Uint8Array): void;
  write(address: number, data: Uint8Array): void;
}

export const ACCESS = { READ: 0, WRITE: PF.WRITE, USER: PF.USER, FETCH: PF.FETCH } as const;

const PAGE_MASK = ~0xfff;
const TWO_32 = 0x100000000;

export class MemoryUnit {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly ramSizeBytes: number;
  /** One past the last address with memory behind it. */
  readonly memoryEnd: number;
  readonly map: AddressMap;
  readonly tlb: Tlb;
  readonly #system: SystemState;
  readonly #devices: PhysicalDevices;
  readonly #deviceData: Readonly<Record<number, Uint8Array>>;
  watcher: CodeWatcher = NO_WATCHER;
  watchpoints: Watchpoints | undefined;
  /** Whether the exception that was raised last is that of an address that is not canonical, and the address. */
  nonCanonical = false;
  nonCanonicalLow = 0;
  nonCanonicalHigh = 0;
  /** Whether the last translation may be written without another walk. */
  #writable = false;
  /** Address bits inside the page of the last translation, and whether it is global. */
  #pageShift = 12;
  #isGlobal = false;
  misses = 0;
  /** How code is decoded now: a sum of CODE_KEY. */
  codeKey: number = CODE_KEY.LONG;
  /** What the TLBs of legacy code were filled under. */
  #legacyTlbOf = -1;
  /** Whether the TLB in force is for user code's accesses. */
  #isUserTlb = false;

  constructor(memory: ArrayBuffer, map: AddressMap, system: SystemState, devices: PhysicalDevices) {
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory);
    this.map = map;
    this.ramSizeBytes = map.ramSizeBytes;
    this.memoryEnd = map.endPlace;
    this.#system = system;
    this.#devices = devices;
    this.#deviceData = Object.fromEntries([1, 2, 4, 8].map((n) => [n, new Uint8Array(n)]));
    this.tlb = new Tlb(memory);
    this.tlb.flush();
  }

  /** As a write of CR3 does: global pages stay. */
  flushNonGlobal(): void {
    if ((this.#system.cr4 & CR4.PGE) === 0) this.tlb.flush();
    else this.tlb.flushNonGlobal();
  }

  /** Notes what the last translation was with an entry of the code TLB. */
  describeCodeEntry(at: number): void {
    this.bytes[at + CODE_TLB.PAGE_SHIFT] = this.#pageShift;
    this.bytes[at + CODE_TLB.GLOBAL] = this.#isGlobal ? 1 : 0;
    this.#noteSize(this.words[(at >> 2) + 1] as number);
    this.tlb.entered(at);
  }

  #noteSize(high: number): void {
    if (this.#pageShift !== 12) this.tlb.noteLarge(high, this.#isGlobal);
  }

  /** Whether code is not 64-bit code: addresses have 32 bits. */
  get isLegacy(): boolean {
    return this.codeKey !== CODE_KEY.LONG;
  }

  /** Chooses the TLBs for the privilege level, RFLAGS.AC and the kind of code. Called whenever one of them may have changed. */
  selectMode(): void {
    const { words } = this;
    const ac = ((words[STATE.FLAGS >> 2] as number) & FLAG.AC) !== 0;
    const user = this.#system.cpl === 3;
    const mode = user ? ACCESS_MODE.USER : ac ? ACCESS_MODE.SUPERVISOR_AC : ACCESS_MODE.SUPERVISOR;
    words[STATE.TLB >> 2] = TLB.BASE + mode * TLB.MODE_SIZE;
    this.#isUserTlb = user;
    const key = codeKey(this.#system, words);
    if (key !== CODE_KEY.LONG) {
      this.#selectLegacy(key, mode);
      return;
    }
    this.codeKey = key;
    words[STATE.CODE_TLB >> 2] = CODE_TLB.BASE + (user ? CODE_TLB.MODE_SIZE : 0);
  }

  #selectLegacy(key: number, mode: number): void {
    const { words } = this;
    // Upper halves of registers are undefined after 64-bit code (SDM vol. 1 §3.4.1.1): zero lets 32-bit addresses be used as they are.
    if (this.codeKey === CODE_KEY.LONG) for (let n = 0; n < 8; n++) words[(STATE.GPR >> 2) + 2 * n + 1] = 0;
    this.codeKey = key;
    for (let n = 0; n < 6; n++) words[(STATE.SEGMENT_CHECKED >> 2) + n] = isChecked(this.#system, n) ? 1 : 0;
    // 64-bit code may have translated addresses above 4 GiB, which a sum that is to wrap must not find.
    words[STATE.TLB >> 2] = TLB.BASE + ACCESS_MODE.LEGACY * TLB.MODE_SIZE;
    words[STATE.CODE_TLB >> 2] = CODE_TLB.BASE + 2 * CODE_TLB.MODE_SIZE;
    const of = key * ACCESS_MODE.LEGACY + mode;
    if (this.#legacyTlbOf !== of) this.tlb.flushLegacy();
    this.#legacyTlbOf = of;
  }

  raise(vector: number, errorCode: number): -1 {
    this.nonCanonical = false;
    this.#system.vector = vector;
    this.#system.errorCode = errorCode;
    return -1;
  }

  /** #GP, which becomes #SS where the access was to the stack (SDM vol. 1 §3.3.7.1). */
  #raiseNonCanonical(low: number, high: number): -1 {
    this.raise(VECTOR.GP, 0);
    this.nonCanonical = true;
    this.nonCanonicalLow = low;
    this.nonCanonicalHigh = high;
    return -1;
  }

  /** The second page of an access: an address that is not canonical there comes before any fault of the first page. */
  crossesToCanonical(low: number, high: number, nextHigh: number): boolean {
    if ((this.#system.cr0 & CR0.PG) === 0 || (isCanonical(high) && isCanonical(nextHigh))) return true;
    this.#raiseNonCanonical(low, high);
    return false;
  }

  #pageFault(low: number, high: number, errorCode: number): -1 {
    this.#system.cr2Low = low;
    this.#system.cr2High = high;
    return this.raise(VECTOR.PF, errorCode);
  }

  /**
   * Physical address of a virtual one, or −1 after raising the fault. `access` is made of ACCESS bits; an access with USER is
   * checked as user's, without as supervisor's.
   */
  translate(low: number, high: number, access: number): number {
    const physical = this.#translate(low, high, access);
    return physical < this.ramSizeBytes ? physical : this.map.placeOf(physical);
  }

  /** All regions outside RAM from now on. What was translated to those that are gone, and decoded there, is forgotten. */
  setRegions(regions: readonly MappedRegion[], gone: readonly MappedRegion[]): void {
    this.map.setRegions(regions);
    if (gone.length === 0) return;
    for (const { place, sizeBytes } of gone) this.externalWrite(place, sizeBytes);
    this.tlb.flush();
  }

  #translate(low: number, high: number, access: number): number {
    const s = this.#system;
    if ((s.cr0 & CR0.PG) === 0) {
      this.#writable = true;
      this.#isGlobal = false;
      this.#pageShift = 12;
      return (low >>> 0) + (high >>> 0) * TWO_32;
    }
    if ((s.efer & EFER.LMA) === 0) {
      return (s.cr4 & CR4.PAE) !== 0 ? this.#translatePae(low, access) : this.#translate32(low, access);
    }
    if (!isCanonical(high)) return this.#raiseNonCanonical(low, high);
    const table = s.cr3 - (s.cr3 % 4096);
    return this.#walk(low, high, access, 3, table + (((high >>> 7) & 0x1ff) << 3));
  }

  /** Error-code bits of a page fault of this access, SDM vol. 3 §4.7. */
  #faultBits(access: number): number {
    const s = this.#system;
    const tellsFetch = (s.efer & EFER.NXE) !== 0 || (s.cr4 & CR4.SMEP) !== 0;
    return access & (PF.WRITE | PF.USER | (tellsFetch ? PF.FETCH : 0));
  }

  /** From the entry at `topEntry`, of level `top`, down; entries have 8 bytes. */
  #walk(low: number, high: number, access: number, top: number, topEntry: number): number {
    const s = this.#system;
    const { words } = this;
    let entryAddress = topEntry;
    let rights: number = PTE.WRITABLE | PTE.USER;
    let noExecute = 0;
    const fault = this.#faultBits(access);
    for (let level = top; ; level--) {
      const entryPlace = this.#tablePlace(entryAddress);
      if (entryPlace < 0) return this.#pageFault(low, high, fault);
      const at = (RAM_BASE + entryPlace) >>> 2;
      const entryLow = words[at] as number;
      const entryHigh = words[at + 1] as number;
      if ((entryLow & PTE.PRESENT) === 0) return this.#pageFault(low, high, fault);
      const reserved = (entryHigh & RESERVED_HIGH) | ((s.efer & EFER.NXE) === 0 ? entryHigh & NX_HIGH : 0);
      if (reserved !== 0) return this.#pageFault(low, high, fault | PF.PRESENT | PF.RESERVED);
      rights &= entryLow;
      noExecute |= entryHigh & NX_HIGH;
      const large = level > 0 && (entryLow & PTE.LARGE) !== 0;
      if (large && (level === 3 || (entryLow & (RESERVED_LARGE[level] as number)) !== 0)) {
        return this.#pageFault(low, high, fault | PF.PRESENT | PF.RESERVED);
      }
      const base = (entryHigh & ADDRESS_HIGH) * TWO_32 + ((entryLow & PAGE_MASK) >>> 0);
      if (level === 0 || large) {
        if (!this.#mayAccess(access, rights, noExecute)) return this.#pageFault(low, high, fault | PF.PRESENT);
        if (!this.#leaf(at, entryLow, access, 12 + 9 * level)) return this.#walk(low, high, access, top, topEntry);
        if (level === 0) return base + (low & 0xfff);
        if (level === 1) return base - (base % 0x200000) + (low & 0x1fffff);
        return base - (base % 0x40000000) + (low & 0x3fffffff);
      }
      // Changed by another processor meanwhile: from the start.
      if (!markEntry(words, at, entryLow, PTE.ACCESSED)) return this.#walk(low, high, access, top, topEntry);
      const index =
        level === 3 ? ((high & 0x7f) << 2) | (low >>> 30) : level === 2 ? (low >>> 21) & 0x1ff : (low >>> 12) & 0x1ff;
      entryAddress = base + (index << 3);
    }
  }

  /** Where the entry of a table lies, which is marked in place; -1 outside memory that may be written. */
  #tablePlace(entryAddress: number): number {
    if (entryAddress < this.ramSizeBytes) return entryAddress;
    const place = this.map.placeOf(entryAddress);
    return place < this.memoryEnd && this.map.isWritable(place) ? place : -1;
  }

  /** Whether a page may be accessed so; notes whether it may be written then. */
  #mayAccess(access: number, rights: number, noExecute: number): boolean {
    this.#writable = this.#allowed(access | PF.WRITE, rights, noExecute);
    return this.#allowed(access, rights, noExecute);
  }

  /** Marks the entry at a word that maps a page, and notes what the TLB keeps. False when it has changed meanwhile. */
  #leaf(at: number, entry: number, access: number, shift: number): boolean {
    const bits = PTE.ACCESSED | (access & PF.WRITE ? PTE.DIRTY : 0);
    if (!markEntry(this.words, at, entry, bits)) return false;
    this.#pageShift = shift;
    this.#isGlobal = (entry & PTE.GLOBAL) !== 0;
    this.#writable &&= ((entry | bits) & PTE.DIRTY) !== 0;
    return true;
  }

  /** PAE paging: four entries without rights at the top, SDM vol. 3 §4.4. */
  #translatePae(low: number, access: number): number {
    const s = this.#system;
    const pointer = s.cr3 - (s.cr3 % 32) + ((low >>> 30) << 3);
    const fault = this.#faultBits(access);
    const pointerPlace = this.#tablePlace(pointer);
    if (pointerPlace < 0) return this.#pageFault(low, 0, fault);
    const at = (RAM_BASE + pointerPlace) >>> 2;
    const entry = this.words[at] as number;
    if ((entry & PTE.PRESENT) === 0) return this.#pageFault(low, 0, fault);
    const table = ((this.words[at + 1] as number) & ADDRESS_HIGH) * TWO_32 + ((entry & PAGE_MASK) >>> 0);
    return this.#walk(low, 0, access, 1, table + (((low >>> 21) & 0x1ff) << 3));
  }

  /** 32-bit paging: two levels of 4-byte entries, pages of 4 MiB with CR4.PSE, SDM vol. 3 §4.3. */
  #translate32(low: number, access: number): number {
    const s = this.#system;
    const { words } = this;
    const fault = this.#faultBits(access);
    let entryAddress = s.cr3 - (s.cr3 % 4096) + ((low >>> 22) << 2);
    let rights: number = PTE.WRITABLE | PTE.USER;
    for (let level = 1; ; level--) {
      const entryPlace = this.#tablePlace(entryAddress);
      if (entryPlace < 0) return this.#pageFault(low, 0, fault);
      const at = (RAM_BASE + entryPlace) >>> 2;
      const entry = words[at] as number;
      if ((entry & PTE.PRESENT) === 0) return this.#pageFault(low, 0, fault);
      rights &= entry;
      const large = level === 1 && (entry & PTE.LARGE) !== 0 && (s.cr4 & CR4.PSE) !== 0;
      if (large && (entry & RESERVED_4M) !== 0) return this.#pageFault(low, 0, fault | PF.PRESENT | PF.RESERVED);
      if (level === 0 || large) {
        const shift = large ? 22 : 12;
        if (!this.#mayAccess(access, rights, 0)) return this.#pageFault(low, 0, fault | PF.PRESENT);
        if (!this.#leaf(at, entry, access, shift)) return this.#translate32(low, access);
        const inside = 2 ** shift - 1;
        return ((entry & ~inside) | (low & inside)) >>> 0;
      }
      if (!markEntry(words, at, entry, PTE.ACCESSED)) return this.#translate32(low, access);
      entryAddress = ((entry & PAGE_MASK) >>> 0) + (((low >>> 12) & 0x3ff) << 2);
    }
  }

  #allowed(access: number, rights: number, noExecute: number): boolean {
    const s = this.#system;
    const userPage = (rights & PTE.USER) !== 0;
    if (access & PF.FETCH) {
      if (noExecute !== 0) return false;
      if (access & PF.USER) return userPage;
      return !(userPage && (s.cr4 & CR4.SMEP) !== 0);
    }
    if (access & PF.USER) return userPage && ((access & PF.WRITE) === 0 || (rights & PTE.WRITABLE) !== 0);
    // RFLAGS.AC says nothing about what the processor does for itself on behalf of user code.
    const allowsUserPages = s.cpl !== 3 && ((this.words[STATE.FLAGS >> 2] as number) & FLAG.AC) !== 0;
    if (userPage && (s.cr4 & CR4.SMAP) !== 0 && !allowsUserPages) return false;
    return (access & PF.WRITE) === 0 || (rights & PTE.WRITABLE) !== 0 || (s.cr0 & CR0.WP) === 0;
  }

  get userBit(): number {
    return this.#system.cpl === 3 ? PF.USER : 0;
  }

  /** Enters a translation of memory that was made for this access into the TLB in force. */
  #fill(low: number, high: number, physical: number, access: number): void {
    const { words } = this;
    const page = physical - (physical % 4096);
    if (page + 4096 > this.memoryEnd) return;
    // What the processor does for itself on behalf of user code, such as pushing a frame, must not open pages to user code.
    if (this.#isUserTlb !== ((access & PF.USER) !== 0) || this.watchpoints?.hasPage(low, high)) return;
    this.misses++;
    const entry = (words[STATE.TLB >> 2] as number) + tlbEntryOffset(low);
    const pageLow = low & PAGE_MASK;
    this.tlb.makeRoom(entry, pageLow, high);
    const at = entry >> 2;
    words[at] = pageLow;
    words[at + 1] = high;
    const write = this.#writable && this.map.isWritable(page) && this.watcher.mayWriteUnseen(page);
    words[at + 2] = write ? pageLow : -1;
    words[at + 3] = write ? high : -1;
    words[at + (TLB.PAGE_SHIFT >> 2)] = this.#pageShift;
    words[at + (TLB.GLOBAL >> 2)] = this.#isGlobal ? 1 : 0;
    this.#noteSize(high);
    words[at + (TLB.ADDEND >> 2)] = (RAM_BASE + page - (pageLow >>> 0)) | 0;
    this.tlb.entered(entry);
  }

  /** The engine's slow load; the address is in STATE.ADDRESS. Returns the place of the bytes, or 0 after a fault. */
  load(sizeBytes: number, forWrite: boolean): number {
    const low = this.words[STATE.ADDRESS >> 2] as number;
    const high = this.#addressHigh();
    if (this.watchpoints?.meets(low, high, sizeBytes, forWrite ? WATCH.READ | WATCH.WRITE : WATCH.READ)) return 0;
    const access = this.userBit | (forWrite ? PF.WRITE : 0);
    if ((low & 0xfff) + sizeBytes > 4096) return this.#loadAcross(low, high, sizeBytes, access);
    const physical = this.translate(low, high, access);
    if (physical < 0) return 0;
    if (physical + sizeBytes <= this.memoryEnd) {
      this.#fill(low, high, physical, access);
      return RAM_BASE + physical;
    }
    this.readPhysical(physical, STATE.BOUNCE, sizeBytes);
    return STATE.BOUNCE;
  }

  /** Upper half of the address that lies this many bytes above another; legacy code's addresses wrap at 4 GiB. */
  highAfter(low: number, high: number, bytes: number): number {
    if ((low >>> 0) + bytes < TWO_32) return high;
    return this.isLegacy && high === 0 ? 0 : (high + 1) | 0;
  }

  /** Legacy code's addresses wrap at 4 GiB; the engine's sums do not, so that such an access comes here. */
  #addressHigh(): number {
    return this.isLegacy ? 0 : (this.words[(STATE.ADDRESS >> 2) + 1] as number);
  }

  #loadAcross(low: number, high: number, sizeBytes: number, access: number): number {
    const first = 4096 - (low & 0xfff);
    const nextLow = (low + first) | 0;
    const nextHigh = this.highAfter(low, high, first);
    if (!this.crossesToCanonical(low, high, nextHigh)) return 0;
    const a = this.translate(low, high, access);
    if (a < 0) return 0;
    const b = this.translate(nextLow, nextHigh, access);
    if (b < 0) return 0;
    this.readPhysical(a, STATE.BOUNCE, first);
    this.readPhysical(b, STATE.BOUNCE + first, sizeBytes - first);
    return STATE.BOUNCE;
  }

  /** The engine's slow store of the bytes at STATE.BOUNCE. False after a fault. */
  store(sizeBytes: number, record: number): boolean {
    const low = this.words[STATE.ADDRESS >> 2] as number;
    const high = this.#addressHigh();
    return this.writeVirtual(low, high, STATE.BOUNCE, sizeBytes, record, this.userBit);
  }

  /** Writes bytes from this memory to a virtual address; nothing is written when any byte faults. */
  writeVirtual(low: number, high: number, from: number, sizeBytes: number, record: number, user: number): boolean {
    if (this.watchpoints?.meets(low, high, sizeBytes, WATCH.WRITE)) return false;
    const first = Math.min(sizeBytes, 4096 - (low & 0xfff));
    const nextLow = (low + first) | 0;
    const nextHigh = this.highAfter(low, high, first);
    if (first !== sizeBytes && !this.crossesToCanonical(low, high, nextHigh)) return false;
    const a = this.translate(low, high, user | PF.WRITE);
    if (a < 0) return false;
    if (first === sizeBytes) {
      if (a + sizeBytes <= this.memoryEnd) this.#fill(low, high, a, user);
      this.writePhysical(a, from, sizeBytes, record);
      return true;
    }
    const b = this.translate(nextLow, nextHigh, user | PF.WRITE);
    if (b < 0) return false;
    this.writePhysical(a, from, first, record);
    this.writePhysical(b, from + first, sizeBytes - first, record);
    return true;
  }

  /** Reads bytes from a virtual address into this memory; false after a fault. */
  readVirtual(low: number, high: number, to: number, sizeBytes: number, user: number): boolean {
    if (this.watchpoints?.meets(low, high, sizeBytes, WATCH.READ)) return false;
    const first = Math.min(sizeBytes, 4096 - (low & 0xfff));
    const nextLow = (low + first) | 0;
    const nextHigh = this.highAfter(low, high, first);
    if (first !== sizeBytes && !this.crossesToCanonical(low, high, nextHigh)) return false;
    const a = this.translate(low, high, user);
    if (a < 0) return false;
    if (first === sizeBytes) {
      this.readPhysical(a, to, sizeBytes);
      return true;
    }
    const b = this.translate(nextLow, nextHigh, user);
    if (b < 0) return false;
    this.readPhysical(a, to, first);
    this.readPhysical(b, to + first, sizeBytes - first);
    return true;
  }

  readPhysical(address: number, to: number, sizeBytes: number): void {
    if (address + sizeBytes <= this.memoryEnd) {
      this.bytes.copyWithin(to, RAM_BASE + address, RAM_BASE + address + sizeBytes);
      return;
    }
    this.#eachPiece(address, to, sizeBytes, true);
  }

  writePhysical(address: number, from: number, sizeBytes: number, record: number): void {
    if (address + sizeBytes <= this.memoryEnd && this.map.isWritable(address)) {
      if (!this.changing(address, sizeBytes, record)) return;
      this.bytes.copyWithin(RAM_BASE + address, from, from + sizeBytes);
      this.watcher.changed(address, sizeBytes);
      return;
    }
    this.#eachPiece(address, from, sizeBytes, false);
  }

  /** Bytes of one page of memory are about to change: what is decoded of them is forgotten. As CodeWatcher.written. */
  changing(address: number, sizeBytes: number, record: number): boolean {
    return !this.watcher.hasCode(address - (address % 4096)) || this.watcher.written(address, sizeBytes, record);
  }

  /** Writes bytes from outside to RAM, where all of them must lie; when, says `externalWrite`. */
  writeRam(address: number, data: Uint8Array): void {
    assert(address >= 0 && address + data.length <= this.ramSizeBytes, 'what is written is RAM');
    this.externalWrite(address, data.length);
    this.bytes.set(data, RAM_BASE + address);
    this.watcher.changed(address, data.length);
  }

  /**
   * Somebody else writes these bytes of RAM: what was decoded from there is forgotten. To be told between instructions, or in one
   * that has the code after it looked up again. Writes that nobody tells of are noticed when a page's translation is looked up
   * anew: for pages that are not global, at the latest when CR3 is written.
   */
  externalWrite(address: number, sizeBytes: number): void {
    const end = Math.min(address + sizeBytes, this.memoryEnd);
    for (let at = address; at < end; ) {
      const page = at - (at % 4096);
      const next = Math.min(end, page + 4096);
      if (this.watcher.hasCode(page)) this.watcher.written(at, next - at, 0);
      at = next;
    }
  }

  /** Devices see naturally sized accesses: what is left over of others goes byte by byte. */
  #eachPiece(from: number, place: number, sizeBytes: number, read: boolean): void {
    const address = this.map.physicalOf(from);
    const whole = sizeBytes === 1 || sizeBytes === 2 || sizeBytes === 4 || sizeBytes === 8;
    const step = whole ? sizeBytes : 1;
    const data = this.#deviceData[step] as Uint8Array;
    for (let done = 0; done < sizeBytes; done += step) {
      if (read) {
        this.#devices.read(address + done, data);
        this.bytes.set(data, place + done);
      } else {
        for (let i = 0; i < step; i++) data[i] = this.bytes[place + done + i] as number;
        this.#devices.write(address + done, data);
      }
    }
  }
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE, TLB, tlbEntryOffset } from './layout.ts';
import { SystemMachine } from './testing-system.ts';
import { Tlb } from './tlb.ts';

/** Tables of the upper half, whose first MiB and more is the memory from 8 MiB on, in pages of 4 KiB. */
const TABLE = { PML4: 0x1000, PDPT: 0x5000, PD: 0x6000, PT: 0x7000 } as const;
const UPPER = 0xffff_8000_0000_0000n;
const PHYSICAL = 0x80_0000;
const PRESENT_WRITABLE = 3;

function machineOf(code: string): SystemMachine {
  const system = new SystemMachine(code);
  const put = (at: number, value: number): void => system.view.setBigUint64(at, BigInt(value), true);
  put(TABLE.PML4 + 256 * 8, TABLE.PDPT | PRESENT_WRITABLE);
  put(TABLE.PDPT, TABLE.PD | PRESENT_WRITABLE);
  put(TABLE.PD, TABLE.PT | PRESENT_WRITABLE);
  for (let i = 0; i < 512; i++) put(TABLE.PT + 8 * i, (PHYSICAL + 0x1000 * i) | PRESENT_WRITABLE);
  return system;
}

test('INVLPG forgets data and code of one page of 4 KiB, and no other', () => {
  /*
   * call rbx; call rbp; mov [rcx],rdx; mov [rsi],rdx (both pages are now the third); call rbx; call rbp; invlpg [rbx];
   * call rbx; call rbp; hlt
   */
  const system = machineOf('ffd3 ffd5 488911 488916 ffd3 ffd5 0f013b ffd3 ffd5 f4');
  const { ram, setRegister, register } = system.machine;
  const pages = [0, 0x41, 0x82];
  pages.forEach((page, i) => {
    // add eax,[page + ffah]; add r8d,imm8; ret: both add what tells the page
    const at = PHYSICAL + page * 0x1000;
    ram.set(Uint8Array.fromHex('0305f40f0000'), at);
    ram.set([0x41, 0x83, 0xc0, 1 << (2 * i), 0xc3], at + 6);
    system.view.setUint32(at + 0xffa, 1 << (2 * i), true);
  });
  const [first, second, third] = pages as [number, number, number];
  setRegister(3, UPPER + BigInt(first * 0x1000));
  setRegister(5, UPPER + BigInt(second * 0x1000));
  setRegister(1, BigInt(TABLE.PT + 8 * first));
  setRegister(6, BigInt(TABLE.PT + 8 * second));
  setRegister(2, BigInt((PHYSICAL + third * 0x1000) | PRESENT_WRITABLE));
  assert.equal(system.run(), null);
  // The first page ran twice as it was and once anew, the second three times as it was: its translation stays.
  const sum = BigInt(2 * 1 + 16 + 3 * 4);
  assert.deepEqual([register(0), register(8)], [sum, sum]);
});

test('pages next to each other have neither place in common', () => {
  for (let page = 0; page < 1 << 20; page++) {
    const [place, next] = [tlbEntryOffset(page << 12), tlbEntryOffset((page + 1) << 12)];
    if (place === next || place === (next ^ TLB.ALTERNATE)) assert.fail(`page ${page.toString(16)}`);
  }
});

/** A TLB and what the memory unit does with it, in supervisor mode. */
function bareTlb() {
  const tlb = new Tlb(new ArrayBuffer(CODE.RECORDS));
  tlb.flush();
  const { words } = tlb;
  const enter = (low: number, isGlobal = false): void => {
    const at = TLB.BASE + tlbEntryOffset(low);
    tlb.makeRoom(at, low, 0);
    words.set([low, 0, low, 0], at >> 2);
    words[(at + TLB.PAGE_SHIFT) >> 2] = 12;
    words[(at + TLB.GLOBAL) >> 2] = isGlobal ? 1 : 0;
    tlb.entered(at);
  };
  const has = (low: number): boolean => {
    const at = TLB.BASE + tlbEntryOffset(low);
    return [at, at ^ TLB.ALTERNATE].some((place) => words[place >> 2] === low && words[(place >> 2) + 1] === 0);
  };
  return { tlb, enter, has };
}

/** So far from each other pages have the same place. */
const SAME_PLACE = TLB.ENTRIES * 0x1000;

test('two pages with the same place are both kept, and the older gives way to a third', () => {
  const { tlb, enter, has } = bareTlb();
  const pages = [0x5000, 0x5000 + SAME_PLACE, 0x5000 + 2 * SAME_PLACE] as const;
  for (const page of pages) enter(page);
  assert.deepEqual(pages.map(has), [false, true, true]);
  tlb.flushPage(pages[1], 0);
  assert.deepEqual(pages.map(has), [false, false, true]);
  tlb.flushPage(pages[2], 0);
  assert.deepEqual(pages.map(has), [false, false, false]);
});

test('a page that nobody uses any more gives way to two that share its places', () => {
  const { enter, has } = bareTlb();
  const [unused, one, other] = [0x5000, 0x5000 + SAME_PLACE, 0x5000 + SAME_PLACE / 2] as const;
  enter(unused);
  enter(one);
  enter(other);
  assert.deepEqual([unused, one, other].map(has), [false, true, true]);
});

for (const count of [10, 700]) {
  test(`a write of CR3 keeps global pages alone, of ${count} and as many others`, () => {
    const { tlb, enter, has } = bareTlb();
    const pages = Array.from({ length: count }, (_, i) => 0x1000 * i);
    for (const page of pages) {
      enter(page + SAME_PLACE, true);
      enter(page);
    }
    tlb.flushNonGlobal();
    assert.equal(pages.filter(has).length, 0);
    // Where both places of a page are taken one is lost before.
    assert.ok(pages.filter((page) => has(page + SAME_PLACE)).length >= Math.min(count, TLB.ENTRIES / 2));
  });
}

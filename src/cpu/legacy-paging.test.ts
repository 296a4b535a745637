import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SEGMENT } from './layout.ts';
import { CR0, CR4 } from './system-state.ts';
import { CODE_START, createTestMachine, type TestMachine } from './testing.ts';
import { halt, put, setSegment } from './testing-legacy.ts';

describe('legacy paging', () => {
  const TABLES = 0x10_0000 + 0x1_0000;
  const PRESENT_WRITABLE = 3;

  /** 32-bit code that reads and writes through EBX; `entries` are words at physical addresses. */
  function pagedMachine(cr4: number, entries: readonly (readonly [at: number, value: number])[]): TestMachine {
    const machine = createTestMachine('');
    const { cpu } = machine;
    // mov eax,[ebx]; mov [ebx+4],eax; hlt
    put(machine, CODE_START, '8b03894304f4');
    const view = new DataView(machine.ram.buffer, machine.ram.byteOffset);
    for (const [at, value] of entries) view.setUint32(at, value, true);
    Object.assign(cpu.system, { cr0: CR0.PE | CR0.PG | CR0.WP | CR0.ET, efer: 0, cr4, cr3: TABLES });
    for (let n = 0; n < 6; n++) setSegment(cpu, n, { selector: 0x10, attributes: 0xc093 });
    setSegment(cpu, SEGMENT.CS, { selector: 8, attributes: 0xc09b });
    cpu.mmu.tlb.flush();
    cpu.mmu.selectMode();
    machine.setRegister(3, 0xc040_1000n);
    view.setUint32(0x30_0000, 0xfeed, true);
    return machine;
  }
  const wordAt = ({ ram }: TestMachine, at: number): number =>
    new DataView(ram.buffer, ram.byteOffset).getUint32(at, true);

  test('32-bit paging with pages of 4 KiB and 4 MiB', () => {
    const small = [TABLES + 0x301 * 4, (TABLES + 0x1000) | PRESENT_WRITABLE] as const;
    const machine = pagedMachine(CR4.PSE, [
      [TABLES, 0x80 | PRESENT_WRITABLE],
      small,
      [TABLES + 0x1004, 0x30_0000 | PRESENT_WRITABLE],
    ]);
    halt(machine.cpu);
    assert.equal(wordAt(machine, 0x30_0004), 0xfeed);
    assert.equal(wordAt(machine, TABLES + 0x1004) & 0x60, 0x60, 'accessed and dirty');
    assert.equal(wordAt(machine, TABLES) & 0x60, 0x20, 'code was only read');
    assert.equal(wordAt(machine, small[0]) & 0x20, 0x20);
  });

  test('PAE paging, whose top entries have no rights', () => {
    const machine = pagedMachine(CR4.PAE, [
      [TABLES, (TABLES + 0x1000) | 1],
      [TABLES + 0x1000, 0x80 | PRESENT_WRITABLE],
      [TABLES + 24, (TABLES + 0x2000) | 1],
      [TABLES + 0x2010, (TABLES + 0x3000) | PRESENT_WRITABLE],
      [TABLES + 0x3008, 0x30_0000 | PRESENT_WRITABLE],
    ]);
    halt(machine.cpu);
    assert.equal(wordAt(machine, 0x30_0004), 0xfeed);
    assert.equal(wordAt(machine, TABLES + 24) & 0x20, 0, 'top entries are not marked');
  });

  test('a page that may not be written is #PF with its address', () => {
    const machine = pagedMachine(CR4.PSE, [
      [TABLES, 0x80 | PRESENT_WRITABLE],
      [TABLES + 0x301 * 4, 0x80 | 1],
    ]);
    assert.equal(machine.cpu.run(1000).reason, 'triple-fault');
    assert.equal(machine.cpu.system.cr2Low >>> 0, 0xc040_1004);
  });
});

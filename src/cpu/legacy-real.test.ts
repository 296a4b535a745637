import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLAG, SEGMENT } from './layout.ts';
import { CR0, EFER } from './system-state.ts';
import { createTestMachine, type TestMachine } from './testing.ts';
import { DESCRIPTORS, halt, put, SELECTOR32, setSegment } from './testing-legacy.ts';
import { AT, SELECTOR } from './testing-system.ts';

/** All segments as after reset, but CS and the code at a real-mode segment below 1 MiB. */
function realMode(code: string, segment: number): TestMachine {
  const machine = createTestMachine('');
  const { cpu } = machine;
  const { system } = cpu;
  Object.assign(system, { cr0: CR0.ET, cr4: 0, efer: 0, cr3: 0 });
  for (let n = 0; n < 6; n++) setSegment(cpu, n, { selector: 0, attributes: 0x93, limit: 0xffff });
  setSegment(cpu, SEGMENT.CS, { selector: segment, attributes: 0x9b, base: segment << 4, limit: 0xffff });
  Object.assign(system.idt, { baseLow: 0, limit: 0x3ff });
  put(machine, segment << 4, code);
  cpu.mmu.tlb.flush();
  cpu.mmu.selectMode();
  cpu.setInstructionPointer(0, 0);
  return machine;
}

describe('real mode', () => {
  /*
   *   mov ax,9000h; mov ss,ax; mov sp,100h; mov cx,5; xor bx,bx
   * l: inc bx; loop l; call f; int 21h; hlt
   * f: push bx; pop dx; cmp dx,5; jne bad; mov di,es:[si+10h]; ret
   * bad: ud2
   */
  const CODE = 'b800908ed0bc0001b9050031db43e2fde80300cd21f4535a83fa057505268b7c10c30f0b';
  // add bx,1234h; pushf; pop bp; iret
  const HANDLER = '81c334129c5dcf';

  test('loops, calls, segments and interrupts', () => {
    const machine = realMode(CODE, 0x800);
    const { cpu, ram } = machine;
    const view = new DataView(ram.buffer, ram.byteOffset);
    put(machine, 0x7_0000, HANDLER);
    view.setUint16(0x21 * 4, 0x10, true);
    view.setUint16(0x21 * 4 + 2, 0x6fff, true);
    setSegment(cpu, SEGMENT.ES, { selector: 0x5000, attributes: 0x93, base: 0x5_0000, limit: 0xffff });
    machine.setRegister(6, 0x20n);
    view.setUint16(0x5_0030, 0xbeef, true);
    cpu.flags |= FLAG.IF;
    halt(cpu);
    assert.deepEqual([machine.register(3), machine.register(2)], [0x1239n, 5n]);
    assert.equal(machine.register(7), 0xbeefn);
    assert.equal(machine.register(5) & BigInt(FLAG.IF), 0n, 'the handler runs with interrupts off');
    assert.notEqual(cpu.flags & FLAG.IF, 0, 'IRET takes the flags back');
    assert.equal(machine.register(4) & 0xffffn, 0x100n);
    // What the interrupt pushed: FLAGS, CS, IP.
    assert.deepEqual([view.getUint16(0x9_00fa, true), view.getUint16(0x9_00fc, true)], [0x15, 0x800]);
    assert.equal(cpu.instructionPointerLow, CODE.indexOf('f4') / 2 + 1);
  });

  test('the instruction pointer wraps at 64 KiB', () => {
    // jmp -10h from IP 0 goes to IP fff2h: inc ax; hlt
    const machine = realMode('ebf0', 0x1000);
    put(machine, 0x1_fff2, '40f4');
    halt(machine.cpu);
    assert.equal(machine.register(0), 1n);
  });

  /** Code at 7C00h in segments that all begin at 0. */
  function flatRealMode(code: string): TestMachine {
    const machine = realMode('', 0);
    put(machine, 0x7c00, code);
    machine.setRegister(4, 0x7000n);
    machine.cpu.setInstructionPointer(0x7c00, 0);
    return machine;
  }

  for (const [name, load] of [
    ['MOV', '8ed8'],
    ['PUSH and POP', '501f'],
    ['LDS', 'a30205c5160005'], // mov [502h],ax; lds dx,[500h]
  ] as const) {
    test(`code that ran without segment bases runs with them after ${name}`, () => {
      // xor ax,ax; call f; mov ax,1000h; call f; hlt; f: load ds; mov bx,[10h]; xor cx,cx; mov ds,cx; ret
      const machine = flatRealMode(`31c0e80700b80010e80100f4${load}8b1e100031c98ed9c3`);
      machine.ram[0x1_0010] = 0x55;
      halt(machine.cpu);
      assert.deepEqual([machine.register(3), machine.register(4)], [0x55n, 0x7000n]);
    });
  }

  test('a string goes on at the beginning of its segment, wherever that lies in a page', () => {
    // mov ax,1; mov es,ax; mov di,fff0h; mov cx,20h; mov al,55h; rep stosb; hlt
    const { cpu, ram } = flatRealMode('b801008ec0bff0ffb92000b055f3aaf4');
    halt(cpu);
    assert.deepEqual(
      [ram[0x1_000f], ram[0x1_0010], ram[0xf], ram[0x10], ram[0x1f], ram[0x20]],
      [0x55, 0, 0, 0x55, 0x55, 0],
    );
  });

  test('an interrupt waits until the instruction after POP SS, and until LSS is over', () => {
    for (const [code, handled] of [
      ['31c050fb1790f4', 0x7c06], // xor ax,ax; push ax; sti; pop ss; nop; hlt
      ['fb0fb2260005f4', 0x7c06], // sti; lss sp,[500h]; hlt
    ] as const) {
      const machine = flatRealMode(code);
      const { cpu, ram } = machine;
      const view = new DataView(ram.buffer, ram.byteOffset);
      view.setUint16(0x500, 0x7000, true);
      view.setUint16(0x40 * 4, 0x600, true);
      ram[0x600] = 0xf4;
      let waiting = true;
      Object.assign(cpu.options.interrupts, {
        pending: () => waiting,
        acknowledge: () => {
          waiting = false;
          return 0x40;
        },
      });
      halt(cpu);
      assert.equal(cpu.instructionPointerLow, 0x601);
      assert.equal(machine.register(4), 0x7000n - 6n);
      assert.equal(view.getUint16(0x7000 - 6, true), handled);
    }
  });

  test("the way of Linux's trampoline into 64-bit mode", () => {
    /*
     * cli; wbinvd; ax = ds = es = ss = cs; mov sp,800h; lidtl idt; lgdtl gdt; lmsw 1; ljmpl 38h:startup32
     * startup32: ds = es = ss = 10h; cr4 = PAE; cr3 = 1000h; EFER |= LME; cr0 = PG | PE; ljmpl 8:startup64
     * startup64: mov rax,123456789abcdef0h; lea rbx,[startup64]; hlt
     * gdt, idt: limit and base
     */
    const machine = realMode(
      'fa0f098cc88ed88ec08ed0bc0008660f011e7700660f01167100b801000f01f066ea28a00900380066b810008ed88ec08ed0b820000000' +
        '0f22e0b8001000000f22d8b9800000c00f320d000100000f30b8010000800f22c0ea5fa00900080048b8f0debc9a78563412488d1def' +
        'fffffff44f0000003100000000000000',
      0x9a00,
    );
    const { cpu, ram } = machine;
    const view = new DataView(ram.buffer, ram.byteOffset);
    view.setBigUint64(AT.GDT + SELECTOR.CODE, 0x00af_9a00_0000_ffffn, true);
    view.setBigUint64(AT.GDT + SELECTOR.DATA, 0x00cf_9200_0000_ffffn, true);
    view.setBigUint64(AT.GDT + SELECTOR32.CODE, DESCRIPTORS.CODE32, true);
    halt(cpu);
    assert.equal(machine.register(0), 0x1234_5678_9abc_def0n);
    assert.equal(machine.register(3), 0x9_a05fn);
    assert.equal(cpu.system.efer & EFER.LMA, EFER.LMA);
    assert.equal(cpu.mmu.isLegacy, false);
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLAG } from './layout.ts';
import { CODE_START } from './testing.ts';
import { AT, SystemMachine } from './testing-system.ts';

const at = (offset: number): bigint => BigInt(CODE_START + offset);

/** Bits of the last-level entry of one page, and what each kind of access to it gives. */
const PTE = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40 };
const NX = 1n << 63n;

describe('paging', () => {
  const PAGE = 0x80_0000;
  const TABLE = 0x3000;

  /** Maps the 2 MiB page that holds PAGE with these bits, the code of the test elsewhere. */
  function setUp(code: string, bits: number, options: { nx?: boolean; user?: boolean; cr0Wp?: boolean; cr4?: number }) {
    const system = new SystemMachine(code);
    const { cpu } = system.machine;
    const entry = BigInt(PAGE | 0x80 | bits) | (options.nx ? NX : 0n);
    system.view.setBigUint64(TABLE + (PAGE >> 21) * 8, entry, true);
    cpu.system.efer |= 1 << 11;
    if (options.cr0Wp !== false) cpu.system.cr0 |= 1 << 16;
    cpu.system.cr4 |= options.cr4 ?? 0;
    cpu.mmu.tlb.flush();
    if (options.user) system.enterUser(code);
    else {
      // All but the page under test is the supervisor's.
      for (let i = 0; i < 512; i++) {
        const at = TABLE + i * 8;
        if (i !== PAGE >> 21) system.view.setUint32(at, system.view.getUint32(at, true) & ~PTE.US, true);
      }
    }
    system.machine.setRegister(3, BigInt(PAGE));
    return system;
  }
  const bitsOf = (system: SystemMachine): number => system.view.getUint32(TABLE + (PAGE >> 21) * 8, true);

  // mov eax,[rbx] / mov [rbx],eax / jmp rbx; then cli; hlt is only legal in supervisor mode, so int 40h ends the test
  const READ = '8b03 cd40';
  const WRITE = '8903 cd40';
  const JUMP = 'ffe3';
  const SMEP = 1 << 20;
  const SMAP = 1 << 21;
  for (const row of [
    { name: 'a page that is not present', bits: 0, code: READ, error: 0 },
    { name: 'a read of a supervisor page', bits: PTE.P, code: READ },
    { name: 'a user read of a supervisor page', bits: PTE.P, code: READ, user: true, error: 5 },
    { name: 'a user read of a user page', bits: PTE.P | PTE.US, code: READ, user: true },
    { name: 'a user write of a read-only page', bits: PTE.P | PTE.US, code: WRITE, user: true, error: 7 },
    { name: 'a user write of a writable page', bits: PTE.P | PTE.US | PTE.RW, code: WRITE, user: true },
    { name: 'a supervisor write of a read-only page', bits: PTE.P, code: WRITE, error: 3 },
    { name: 'a supervisor write of a read-only page with CR0.WP clear', bits: PTE.P, code: WRITE, cr0Wp: false },
    { name: 'a fetch of a no-execute page', bits: PTE.P, code: JUMP, nx: true, error: 0x11 },
    { name: 'a supervisor fetch of a user page with SMEP', bits: PTE.P | PTE.US, code: JUMP, cr4: SMEP, error: 0x11 },
    { name: 'a supervisor read of a user page with SMAP', bits: PTE.P | PTE.US, code: READ, cr4: SMAP, error: 1 },
    { name: 'a user fetch of a supervisor page', bits: PTE.P, code: JUMP, user: true, error: 0x15 },
  ] as readonly {
    name: string;
    bits: number;
    code: string;
    error?: number;
    user?: boolean;
    nx?: boolean;
    cr0Wp?: boolean;
    cr4?: number;
  }[]) {
    const { name, bits, code, error, ...options } = row;
    test(`${name}: ${error === undefined ? 'works' : `#PF with error code 0x${error.toString(16)}`}`, () => {
      const system = setUp(code, bits, options);
      system.setGate(0x40, { dpl: 3 });
      const entered = system.run();
      const expected = error === undefined ? [0x40, undefined] : [14, BigInt(error)];
      assert.deepEqual([entered?.vector, entered?.errorCode], expected);
      if (error !== undefined) assert.equal(system.machine.cpu.system.cr2Low, PAGE);
    });
  }

  test('a reserved bit is a fault that says so', () => {
    const system = setUp(READ, PTE.P, { nx: true });
    system.machine.cpu.system.efer &= ~(1 << 11);
    system.machine.cpu.mmu.tlb.flush();
    assert.equal(system.run()?.errorCode, 9n);
  });

  test('a read sets A and not D, a write sets both, a fault neither', () => {
    const read = setUp(READ, PTE.P | PTE.RW, {});
    read.run();
    assert.equal(bitsOf(read) & (PTE.A | PTE.D), PTE.A);
    const write = setUp(WRITE, PTE.P | PTE.RW, {});
    write.run();
    assert.equal(bitsOf(write) & (PTE.A | PTE.D), PTE.A | PTE.D);
    const fault = setUp(WRITE, PTE.P, {});
    fault.run();
    assert.equal(bitsOf(fault) & (PTE.A | PTE.D), 0);
  });

  test('a page that was read is marked dirty by the first write after', () => {
    const system = setUp('8b03 8903 cd40', PTE.P | PTE.RW, {});
    system.run();
    assert.equal(bitsOf(system) & PTE.D, PTE.D);
  });

  test('a translation stays until INVLPG', () => {
    // mov eax,[rbx]; and dword [rcx],~1; mov eax,[rbx]; invlpg [rbx]; mov eax,[rbx]
    const system = setUp('8b03 8321fe 8b03 0f013b 8b03 cd40', PTE.P | PTE.RW, {});
    system.machine.setRegister(1, BigInt(TABLE + (PAGE >> 21) * 8));
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip], [14, at(10)]);
  });

  test('INVLPG forgets all of a large page, not only the 4 KiB that it names', () => {
    // mov eax,[rbx+2000h]; mov qword [rcx],rdx; invlpg [rbx]; mov eax,[rbx+2000h]; hlt
    const system = setUp('8b8300200000 488911 0f013b 8b8300200000 f4', PTE.P | PTE.RW, {});
    const { setRegister, register } = system.machine;
    system.view.setUint32(PAGE + 0x2000, 1, true);
    system.view.setUint32(0xa0_2000, 2, true);
    setRegister(1, BigInt(TABLE + (PAGE >> 21) * 8));
    setRegister(2, BigInt(0xa0_0000 | 0x80 | PTE.P | PTE.RW));
    system.run();
    assert.equal(register(0), 2n);
  });

  test('a code page that is mapped elsewhere runs the new code', () => {
    // call rbx; mov qword [rcx],rdx; mov rsi,cr3; mov cr3,rsi; call rbx; hlt
    const system = setUp('ffd3 488911 0f20de 0f22de ffd3 f4', PTE.P | PTE.RW, {});
    const { ram, setRegister, register } = system.machine;
    ram.set([0xb0, 1, 0x00, 0xc4, 0xc3], PAGE); // mov al,1; add ah,al; ret
    ram.set([0xb0, 2, 0x00, 0xc4, 0xc3], 0xa0_0000);
    setRegister(1, BigInt(TABLE + (PAGE >> 21) * 8));
    setRegister(2, BigInt(0xa0_0000 | 0x80 | PTE.P | PTE.RW));
    system.run();
    assert.equal(register(0), 0x302n);
  });

  test('a reserved address bit is a fault that says so, in small and in large entries', () => {
    for (const bit of [46n, 51n, 13n, 20n]) {
      const system = setUp(READ, PTE.P, {});
      const at = TABLE + (PAGE >> 21) * 8;
      system.view.setBigUint64(at, system.view.getBigUint64(at, true) | (1n << bit), true);
      system.machine.cpu.mmu.tlb.flush();
      assert.deepEqual([system.run()?.vector, system.machine.cpu.system.errorCode], [14, 9], `bit ${bit}`);
    }
  });

  test('a global page outlives a write of CR3 and not one of CR4', () => {
    // mov eax,[rbx]; mov [rcx],rdx; mov rsi,cr3; mov cr3,rsi; mov edi,[rbx]; mov rsi,cr4; xor sil,80h; mov cr4,rsi; mov ebp,[rbx]; hlt
    const code = '8b03 488911 0f20de 0f22de 8b3b 0f20e6 4080f680 0f22e6 8b2b f4';
    const GLOBAL = 0x100;
    const PGE = 0x80;
    for (const [bits, cr4, afterCr3] of [
      [GLOBAL, PGE, 1n],
      [0, PGE, 2n],
      [GLOBAL, 0, 2n],
    ] as const) {
      const system = setUp(code, PTE.P | PTE.RW | bits, { cr4 });
      system.view.setUint32(PAGE, 1, true);
      system.view.setUint32(0xa0_0000, 2, true);
      system.machine.setRegister(1, BigInt(TABLE + (PAGE >> 21) * 8));
      system.machine.setRegister(2, BigInt(0xa0_0000 | 0x80 | PTE.P | PTE.RW | bits));
      assert.equal(system.run(), null);
      const { register } = system.machine;
      assert.deepEqual([register(0), register(7), register(5)], [1n, afterCr3, 2n]);
    }
  });

  test("SMAP keeps a descriptor table out of user pages, whatever user code's RFLAGS.AC says", () => {
    // mov eax,0fh; mov ds,eax
    const system = setUp('b80f000000 8ed8', PTE.P | PTE.RW | PTE.US, { user: true, cr4: SMAP });
    for (const page of [0, 1]) {
      const at = TABLE + page * 8;
      system.view.setUint32(at, system.view.getUint32(at, true) & ~PTE.US, true);
    }
    const { cpu } = system.machine;
    Object.assign(cpu.system.ldt, { selector: 0x30, baseLow: PAGE, limit: 0xff });
    system.view.setBigUint64(PAGE + 8, 0x00cf_f300_0000_ffffn, true);
    cpu.flags |= FLAG.AC;
    cpu.mmu.tlb.flush();
    cpu.mmu.selectMode();
    assert.deepEqual([system.run()?.vector, cpu.system.errorCode, cpu.system.cr2Low], [14, 1, PAGE + 8]);
  });

  test('what the processor writes for user code stays closed to it', () => {
    // int 40h pushes a frame on the supervisor's stack; then mov eax,[rbx] reads there
    const system = new SystemMachine('');
    system.setGate(0x40, { dpl: 3 });
    system.machine.ram.set([0x48, 0xcf], AT.HANDLERS + 0x40); // iretq
    system.enterUser('cd40 8b03 f4');
    system.machine.setRegister(3, BigInt(AT.RSP0 - 8));
    const supervisor = TABLE + (AT.RSP0 >> 21) * 8;
    system.view.setUint32(supervisor, system.view.getUint32(supervisor, true) & ~PTE.US, true);
    system.machine.cpu.mmu.tlb.flush();
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode], [14, 5n]);
  });
});

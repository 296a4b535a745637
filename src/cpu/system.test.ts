import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLAG } from './layout.ts';
import { CODE_START } from './testing.ts';
import { AT, SELECTOR, SystemMachine } from './testing-system.ts';

const at = (offset: number): bigint => BigInt(CODE_START + offset);

describe('interrupts', () => {
  test('STI lets exactly one more instruction run', () => {
    // sti; inc eax; inc eax; hlt
    const system = new SystemMachine('fb ffc0 ffc0 f4');
    system.waiting.push(0x40);
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip, system.machine.register(0)], [0x40, at(3), 1n]);
  });

  test('between STI and CLI nothing is taken, with a branch or without', () => {
    // sti; cli; jmp +0; hlt
    const system = new SystemMachine('fb fa eb00 f4');
    system.waiting.push(0x40);
    assert.equal(system.run(), null);
    assert.deepEqual(system.waiting, [0x40]);
  });

  test('STI; HLT takes the interrupt after HLT', () => {
    const system = new SystemMachine('fb f4 90');
    system.waiting.push(0x40);
    assert.equal(system.run()?.rip, at(2));
  });

  test('MOV SS lets exactly one more instruction run', () => {
    // mov eax,10h; sti; mov ss,eax; inc ecx; inc ecx; hlt: the instruction after STI is MOV SS, which has a shadow of its own
    const system = new SystemMachine('b810000000 fb 8ed0 ffc1 ffc1 f4');
    system.waiting.push(0x40);
    const entered = system.run();
    assert.deepEqual([entered?.rip, system.machine.register(1)], [at(10), 1n]);
  });

  test('an interrupt that comes after STI waits for one more instruction all the same', () => {
    // nop; sti; hlt: the run ends at the end of STI's block
    const system = new SystemMachine('90 fb f4 90');
    assert.deepEqual(system.machine.cpu.run(0), { reason: 'budget' });
    system.waiting.push(0x40);
    assert.equal(system.run()?.rip, at(3));
  });

  test('an instruction after STI that goes back to itself does not keep interrupts off', () => {
    const system = new SystemMachine('fb ebfe'); // sti; jmp to itself
    system.waiting.push(0x40);
    assert.equal(system.run()?.rip, at(1));
  });

  test('an interrupt gate clears IF and a trap gate keeps it', () => {
    for (const { type, kept } of [
      { type: 0xe, kept: 0 },
      { type: 0xf, kept: FLAG.IF },
    ]) {
      const system = new SystemMachine('fb 90 90 f4');
      system.setGate(0x40, { type });
      system.waiting.push(0x40);
      system.run();
      assert.equal(system.machine.cpu.flags & FLAG.IF, kept);
    }
  });

  test('an NMI is taken with interrupts off, and no other one until IRET', () => {
    const system = new SystemMachine('90 90 f4');
    system.nmi = true;
    assert.equal(system.run()?.vector, 2);
    system.nmi = true;
    assert.deepEqual(system.machine.cpu.run(1000), { reason: 'halt' });
    assert.equal(system.nmi, true);
    system.machine.ram.set([0x48, 0xcf], AT.HANDLERS + 3); // iretq
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip, system.nmi], [2, at(0), false]);
  });
});

describe('single step', () => {
  test('with TF set each instruction is followed by #DB with BS in DR6', () => {
    // pushf; or qword [rsp],100h; popf; inc eax; inc eax; hlt
    const system = new SystemMachine('9c 48810c2400010000 9d ffc0 ffc0 f4');
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip, system.machine.register(0)], [1, at(12), 1n]);
    assert.equal((entered?.rflags ?? 0n) & BigInt(FLAG.TF), BigInt(FLAG.TF));
    assert.equal(system.machine.cpu.system.dr6 & (1 << 14), 1 << 14);
    assert.equal(system.machine.cpu.flags & FLAG.TF, 0);
  });

  test('the trap after HLT ends it', () => {
    const system = new SystemMachine('f4');
    system.machine.ram.set([0xff, 0xc0, 0xf4], AT.HANDLERS + 1); // inc eax; hlt
    system.machine.cpu.flags |= FLAG.TF;
    system.run();
    assert.equal(system.machine.register(0), 1n);
  });

  test('a faulting instruction is not followed by a trap', () => {
    const system = new SystemMachine('0f0b');
    system.machine.cpu.flags |= FLAG.TF;
    assert.equal(system.run()?.vector, 6);
  });
});

describe('exceptions', () => {
  test('a fault in user mode switches to RSP0 and saves the user stack', () => {
    const system = new SystemMachine('');
    system.enterUser('0f0b');
    const entered = system.run();
    assert.deepEqual(
      [entered?.vector, entered?.rip, entered?.cs, entered?.rsp, entered?.ss],
      [6, BigInt(AT.USER_CODE), BigInt(SELECTOR.USER_CODE), BigInt(AT.USER_STACK), BigInt(SELECTOR.USER_DATA)],
    );
    assert.equal(system.machine.register(4), BigInt(AT.RSP0 - 40));
    assert.equal(system.machine.cpu.system.cpl, 0);
  });

  test('a gate with an IST entry switches the stack at the same privilege', () => {
    const system = new SystemMachine('0f0b');
    system.setGate(6, { ist: 1 });
    assert.equal(system.run()?.rsp, BigInt(AT.STACK));
    assert.equal(system.machine.register(4), BigInt(AT.IST1_END - 40));
  });

  test('the stack of a handler is aligned to 16 bytes', () => {
    const system = new SystemMachine('0f0b');
    system.machine.setRegister(4, BigInt(AT.STACK - 3));
    assert.equal(system.run()?.rsp, BigInt(AT.STACK - 3));
    assert.equal(system.machine.register(4) % 16n, 8n);
  });

  test('INT n through a gate of a lower DPL is #GP with the gate in its error code', () => {
    const system = new SystemMachine('');
    system.enterUser('cd41');
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode], [13, 0x41n * 8n + 2n]);
  });

  test('INT1 of user code goes through a gate of a lower DPL', () => {
    const system = new SystemMachine('');
    system.enterUser('f1');
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip], [1, BigInt(AT.USER_CODE + 1)]);
  });

  test('INT n through a gate of DPL 3 saves the address behind it', () => {
    const system = new SystemMachine('');
    system.setGate(0x41, { dpl: 3 });
    system.enterUser('cd41');
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip], [0x41, BigInt(AT.USER_CODE + 2)]);
  });

  test('INT n that faults leaves the address of the instruction', () => {
    const system = new SystemMachine('90 cd41');
    system.setGate(0x41, { present: false });
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode, entered?.rip], [11, 0x41n * 8n + 2n, at(1)]);
  });

  test('an interrupt whose delivery ends in a shutdown ends the run', () => {
    const system = new SystemMachine('fb 90 f4');
    system.machine.cpu.system.idt.limit = 0;
    system.waiting.push(0x40);
    assert.throws(() => system.run(), /triple fault/);
  });

  test('a reserved bit of CR4 is #GP', () => {
    // mov rax,cr4; bts rax,30; mov cr4,rax
    const system = new SystemMachine('0f20e0 480fbae81e 0f22e0');
    assert.equal(system.run()?.vector, 13);
  });

  test('RDTSC and RDTSCP are #GP in user mode with CR4.TSD', () => {
    for (const code of ['0f31 f4', '0f01f9 f4']) {
      const system = new SystemMachine('');
      system.machine.cpu.system.cr4 |= 1 << 2;
      system.enterUser(code);
      const entered = system.run();
      assert.deepEqual([entered?.vector, entered?.rip], [13, BigInt(AT.USER_CODE)]);
    }
  });

  test('undefined bytes become an instruction when a later one of them is written', () => {
    // mov byte [100040h],a2h; iretq; the bytes lie across what the decoder keeps in one piece
    const system = new SystemMachine('eb3d');
    const { ram } = system.machine;
    ram.set([0x0f, 0x04, 0xf4], CODE_START + 0x3f);
    assert.equal(system.run()?.vector, 6);
    ram.set(Uint8Array.fromHex('c6042540001000a248cf'), AT.HANDLERS + 7);
    assert.equal(system.run(), null);
  });

  for (const [name, code, pushed] of [
    ['JMP', 'ffe0', 0],
    ['CALL', 'ffd0', 0],
    ['RET', '50 c20800', 1], // push rax; ret 8
  ] as const) {
    test(`${name} to an address that is not canonical is #GP of that instruction, with the stack as it was`, () => {
      for (const budgetIsUsedUp of [false, true]) {
        // mov rax,4141414141414141h
        const system = new SystemMachine(`48b84141414141414141 ${code}`);
        if (budgetIsUsedUp) assert.equal(system.machine.cpu.run(0).reason, 'budget');
        const entered = system.run();
        assert.deepEqual([entered?.vector, entered?.errorCode, entered?.rip], [13, 0n, at(10 + pushed)]);
        assert.equal(entered?.rsp, BigInt(AT.STACK - 8 * pushed));
      }
    });
  }

  test('CR4.TSD keeps the time stamp counter from user code', () => {
    for (const code of ['0f31', '0f01f9']) {
      const system = new SystemMachine('');
      system.machine.cpu.system.cr4 |= 4;
      system.enterUser(`${code} 0f0b`);
      assert.deepEqual([system.run()?.vector, system.machine.cpu.system.errorCode], [13, 0]);
    }
  });

  test('a gate that is not present is #NP', () => {
    const system = new SystemMachine('0f0b');
    system.setGate(6, { present: false });
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode], [11, 6n * 8n + 3n]);
  });

  test('a second contributory fault during delivery is a double fault', () => {
    // div by zero: #DE, whose gate is not present: #NP
    const system = new SystemMachine('31c9 f7f1');
    system.setGate(0, { present: false });
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode], [8, 0n]);
  });

  test('a fault that takes the place of another may itself give way to a page fault', () => {
    // #UD, whose gate is not present: #NP, whose stack is not mapped
    const system = new SystemMachine('0f0b');
    system.setGate(6, { present: false });
    system.setGate(11, { ist: 1 });
    system.view.setBigUint64(AT.TSS + 0x24, 0x7fff_0000_0000n, true);
    assert.deepEqual([system.run()?.vector, system.machine.cpu.system.cr2High], [14, 0x7ffe]);
  });

  test('handlers that fault at their first instruction come to the end of the budget', () => {
    // #UD on a stack of its own, whose handler is undefined too; and a handler that may not be fetched
    const undefinedHandler = new SystemMachine('0f0b');
    undefinedHandler.setGate(6, { ist: 1 });
    undefinedHandler.machine.ram.set([0x0f, 0x0b], AT.HANDLERS + 6);
    assert.deepEqual(undefinedHandler.machine.cpu.run(1000), { reason: 'budget' });
    const unmapped = new SystemMachine('0f0b');
    for (const vector of [6, 14]) {
      unmapped.setGate(vector, { ist: 1 });
      unmapped.view.setUint32(AT.IDT + 16 * vector + 8, 0x7000, true);
    }
    assert.deepEqual(unmapped.machine.cpu.run(1000), { reason: 'budget' });
  });

  test('a fault of the double fault is a shutdown', () => {
    const system = new SystemMachine('31c9 f7f1');
    system.setGate(0, { present: false });
    system.setGate(8, { present: false });
    assert.throws(() => system.run(), /triple fault; vector 0/);
  });
});

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

describe('ports', () => {
  const MAP = 0x68;
  /** User code with a task state segment that has a map of ports, which allows 10h to 13h. */
  function withMap(code: string, limit = MAP + 8): { system: SystemMachine; seen: string[] } {
    const seen: string[] = [];
    const system = new SystemMachine('', {
      ports: {
        read: (port, sizeBytes) => {
          seen.push(`in ${port} ${sizeBytes}`);
          return 0x1234_5678;
        },
        write: (port, sizeBytes, value) => void seen.push(`out ${port} ${sizeBytes} ${value}`),
      },
    });
    system.setGate(0x40, { dpl: 3 });
    system.view.setUint16(AT.TSS + 0x66, MAP, true);
    system.machine.ram.fill(0xff, AT.TSS + MAP, AT.TSS + MAP + 9);
    system.machine.ram[AT.TSS + MAP + 2] = 0xf0;
    system.machine.cpu.system.tr.limit = limit;
    system.enterUser(`${code} cd40`);
    return { system, seen };
  }

  test('the map of the task says which ports user code may use', () => {
    const { system, seen } = withMap('e411 e610 ed');
    system.machine.setRegister(0, -1n);
    system.machine.setRegister(2, 0x10n);
    assert.equal(system.run()?.vector, 0x40);
    assert.deepEqual(seen, ['in 17 1', `out 16 1 ${0x78}`, 'in 16 4']);
    assert.equal(system.machine.register(0), 0x1234_5678n);
  });

  for (const [name, code, limit] of [
    ['a port that the map forbids', 'e414', MAP + 8],
    ['an access whose last port the map forbids', 'e511', MAP + 8],
    ['a port beyond the map', 'e4f0', MAP + 8],
    ['a map beyond the segment', 'e410', 0x67],
    ['a string instruction', '6c', MAP + 8],
  ] as const) {
    test(`${name} is #GP`, () => {
      const { system, seen } = withMap(code, limit);
      system.machine.setRegister(2, 0x14n);
      const entered = system.run();
      assert.deepEqual([entered?.vector, entered?.errorCode, seen], [13, 0n, []]);
    });
  }
});

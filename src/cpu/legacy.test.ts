import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Cpu, CpuStop } from './cpu.ts';
import { FLAG, SEGMENT, STATE } from './layout.ts';
import { CR0, CR4, EFER } from './system-state.ts';
import { CODE_START, createTestMachine, type TestMachine } from './testing.ts';
import { AT, SELECTOR, SystemMachine } from './testing-system.ts';

/** Further descriptors of the test machine. */
const SELECTOR32 = { CODE: 0x38, USER_CODE: 0x43, BASED_DATA: 0x48 } as const;
const DESCRIPTORS = {
  CODE32: 0x00cf_9a00_0000_ffffn,
  USER_CODE32: 0x00cf_fa00_0000_ffffn,
  BASED_DATA: 0x00cf_9203_0000_ffffn,
} as const;
const BASE = 0x3_0000;

function machineOf(code: string): SystemMachine {
  const system = new SystemMachine(code);
  system.view.setBigUint64(AT.GDT + SELECTOR32.CODE, DESCRIPTORS.CODE32, true);
  system.view.setBigUint64(AT.GDT + (SELECTOR32.USER_CODE & ~7), DESCRIPTORS.USER_CODE32, true);
  system.view.setBigUint64(AT.GDT + SELECTOR32.BASED_DATA, DESCRIPTORS.BASED_DATA, true);
  system.view.setBigUint64(AT.GDT + SELECTOR.TSS, 0x0000_8932_0000_0067n, true);
  system.machine.cpu.system.gdt.limit = 0x4f;
  return system;
}

const put = ({ ram }: TestMachine, at: number, code: string): void => ram.set(Uint8Array.fromHex(code), at);

function setSegment(
  cpu: Cpu,
  number: number,
  to: { selector: number; attributes: number; base?: number; limit?: number },
): void {
  const { selector, attributes, base = 0, limit = 0xffffffff } = to;
  Object.assign(cpu.segments.register(number), { selector, attributes, limit });
  cpu.quads[STATE.SEGMENT_BASE / 8 + number] = BigInt(base);
}

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

function halt(cpu: Cpu): void {
  const stop: CpuStop = cpu.run(1_000_000);
  assert.equal(stop.reason, 'halt');
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

describe('compatibility mode', () => {
  test('registers have 32 bits, and far jumps lead in and out', () => {
    // mov rax,ffffffff00000001h; mov rbx,deadbeef00150000h; jmp far [ptr]; ptr: 38h:00100100h
    const system = machineOf('48b801000000ffffffff48bb00001500efbeaddeff2d00000000000110003800');
    // add eax,2; mov [ebx],eax; mov ecx,[ebx]; push ecx; call f; pop edx; jmp far 8:00100200h; f: inc ecx; ret
    put(system.machine, 0x10_0100, '83c00289038b0b51e8080000005aea00021000080041c3');
    put(system.machine, 0x10_0200, '488d0500000000f4'); // lea rax,[rip]; hlt
    assert.equal(system.run(), null);
    const { register } = system.machine;
    assert.deepEqual([register(1), register(2), register(0)], [4n, 3n, 0x10_0207n]);
    assert.equal(system.view.getUint32(0x15_0000, true), 3);
    assert.equal(system.machine.cpu.segments.register(SEGMENT.CS).selector, SELECTOR.CODE);
  });

  test('an interrupt of 32-bit user code is delivered to 64-bit code, and IRETQ returns', () => {
    const system = machineOf('');
    enterUser32(system, 'b807000000cd80400f0b'); // mov eax,7; int 80h; inc eax; ud2
    system.setGate(0x80, { dpl: 3 });
    const entered = system.run();
    assert.deepEqual(
      [entered?.vector, entered?.rip, entered?.cs, entered?.ss],
      [0x80, BigInt(AT.USER_CODE + 7), BigInt(SELECTOR32.USER_CODE), BigInt(SELECTOR.USER_DATA)],
    );
    assert.equal(entered?.rsp, BigInt(AT.USER_STACK));
    put(system.machine, AT.HANDLERS + 0x81, '48cf'); // iretq
    const again = system.run();
    assert.deepEqual([again?.vector, again?.rip, system.machine.register(0)], [6, BigInt(AT.USER_CODE + 8), 8n]);
  });

  test('SYSENTER goes to 64-bit code and SYSEXIT back', () => {
    const system = machineOf('b8290000004889e60f35'); // mov eax,29h; mov rsi,rsp; sysexit
    const state = system.machine.cpu.system;
    Object.assign(state, { sysenterSelector: SELECTOR.CODE, sysenterSpLow: AT.RSP0, sysenterIpLow: CODE_START });
    // mov esp,500000h; mov ecx,esp; mov edx,40000eh; sysenter; (0eh) nop; inc eax; ud2
    enterUser32(system, 'bc0000500089e1ba0e0040000f3490400f0b');
    const entered = system.run();
    assert.deepEqual([entered?.vector, system.machine.register(0)], [6, 0x2an]);
    assert.equal(system.machine.register(6), BigInt(AT.RSP0));
    assert.deepEqual([entered?.cs, entered?.ss], [BigInt(SELECTOR.CODE + 16 + 3), BigInt(SELECTOR.CODE + 24 + 3)]);
    assert.equal(entered?.rsp, 0x50_0000n);
  });

  test('SYSENTER without a selector and SYSEXIT in user mode are #GP', () => {
    const none = machineOf('');
    enterUser32(none, '0f34');
    assert.equal(none.run()?.vector, 13);
    const user = machineOf('');
    user.machine.cpu.system.sysenterSelector = SELECTOR.CODE;
    enterUser32(user, '0f35');
    assert.equal(user.run()?.vector, 13);
  });

  test('SYSRET without REX.W goes to 32-bit code; SYSCALL is undefined there', () => {
    const system = machineOf('0f07'); // sysret
    const { cpu, setRegister } = system.machine;
    cpu.system.efer |= EFER.SCE;
    cpu.system.starHigh = (0x33 << 16) | SELECTOR.CODE;
    setRegister(1, BigInt(AT.USER_CODE));
    setRegister(11, 0x202n);
    put(system.machine, AT.USER_CODE, '400f05'); // inc eax (REX in 64-bit code); syscall
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.cs, entered?.ss], [6, 0x33n, 0x3bn]);
    assert.deepEqual([entered?.rip, system.machine.register(0)], [BigInt(AT.USER_CODE + 1), 1n]);
  });

  test('a far call leaves a frame of 32-bit words, and a far return takes it', () => {
    const system = machineOf('ff1d01000000f4000110003800'); // call far [p]; hlt; p: 38h:00100100h
    put(system.machine, 0x10_0100, '8b04248b4c2404cb'); // mov eax,[esp]; mov ecx,[esp+4]; retf
    assert.equal(system.run(), null);
    assert.deepEqual([system.machine.register(0), system.machine.register(1)], [0x10_0006n, BigInt(SELECTOR.CODE)]);
    assert.equal(system.machine.register(4), BigInt(AT.STACK));
  });

  test('segment bases count, but for CS only where code is', () => {
    const system = machineOf('');
    const { cpu, setRegister, register } = system.machine;
    setSegment(cpu, SEGMENT.CS, { selector: SELECTOR32.CODE, attributes: 0xc09a });
    cpu.mmu.selectMode();
    setRegister(6, 0n);
    setRegister(7, 0x14_0000n);
    /*
     * mov ax,48h; mov ds,ax; mov dword [10h],11223344h; mov eax,[esi+esi+10h]; mov ebx,ss:[esi+30010h]
     * movsb; mov ecx,cs:[0]; hlt
     */
    put(system.machine, CODE_START, '66b848008ed8c70510000000443322118b443610368b9e10000300a42e8b0d00000000f4');
    system.view.setUint32(BASE, 0x5566_7788, true);
    system.view.setUint32(0, 0x99aa_bbcc, true);
    assert.equal(system.run(), null);
    assert.equal(system.view.getUint32(BASE + 0x10, true), 0x1122_3344);
    assert.deepEqual([register(0), register(3), register(1)], [0x1122_3344n, 0x1122_3344n, 0x99aa_bbccn]);
    assert.equal(system.view.getUint8(0x14_0000), 0x88);
  });

  test('SWAPGS is undefined', () => {
    const system = machineOf('');
    setSegment(system.machine.cpu, SEGMENT.CS, { selector: SELECTOR32.CODE, attributes: 0xc09a });
    system.machine.cpu.mmu.selectMode();
    put(system.machine, CODE_START, '0f01f8');
    assert.equal(system.run()?.vector, 6);
  });

  test('an address that wraps at 4 GiB is not one that 64-bit code has used above it', () => {
    // mov rax,100000010h; mov rcx,[rax]; jmp far [p]; p: 38h:00100100h
    const system = machineOf('48b81000000001000000 488b08 ff2d00000000 00011000 3800');
    const { view, machine } = system;
    view.setUint32(0x2000 + 4 * 8, 0x16_0000 | 7, true);
    view.setUint32(0x16_0000, 0x80_0000 | 0x87, true);
    view.setUint32(0x80_0010, 0xbad, true);
    view.setUint32(0x10, 0x900d, true);
    put(machine, 0x10_0100, 'bbf0ffffff8b4320f4'); // mov ebx,0fffffff0h; mov eax,[ebx+20h]; hlt
    assert.equal(system.run(), null);
    assert.deepEqual([machine.register(1), machine.register(0)], [0xbadn, 0x900dn]);
  });

  describe('limits', () => {
    /** Data of a few bytes, of one that expands down, and code. */
    const LIMITED = { SMALL: 0x50, DOWN: 0x58 } as const;

    /** User code, after whose first instructions AX is loaded into the segment registers of the case. */
    function limited(code: string): SystemMachine {
      const system = machineOf('');
      system.view.setBigUint64(AT.GDT + LIMITED.SMALL, 0x0040_f214_0000_0007n, true);
      system.view.setBigUint64(AT.GDT + LIMITED.DOWN, 0x0040_f600_0000_0007n, true);
      system.machine.cpu.system.gdt.limit = 0x5f;
      enterUser32(system, code);
      return system;
    }

    const FAULTS: readonly (readonly [name: string, code: string, vector: number, at: number])[] = [
      ['a null FS', '31c0 8ee0 64a100005000', 13, 4],
      ['a null DS', '31c0 8ed8 a100005000', 13, 4],
      ['a null ES of a string', '31c0 8ec0 bf00005000 aa', 13, 9],
      ['the first byte beyond GS, with an index', 'b853000000 8ee8 b904000000 658b0489 658b4c8904', 13, 12],
      ['a bit string beyond GS', 'b853000000 8ee8 b93f000000 650fa30d04000000', 13, 12],
      ['an address below zero', 'b853000000 8ed8 31c9 8b41ff', 13, 9],
      ['what a segment that expands down leaves out', 'b85b000000 8ee8 65a107000000', 13, 7],
    ];
    for (const [name, code, vector, at] of FAULTS) {
      test(`${name} cannot be reached`, () => {
        const entered = limited(code).run();
        assert.deepEqual([entered?.vector, entered?.rip], [vector, BigInt(AT.USER_CODE + at)]);
        assert.equal(entered?.errorCode, 0n);
      });
    }

    test('a string stops at the end of its segment, its registers at the element that faulted', () => {
      const system = limited('b853000000 8ec0 31ff b9ff000000 b041 f3aa'); // es = small; edi = 0; ecx = 255; rep stosb
      const entered = system.run();
      assert.deepEqual([entered?.vector, system.machine.register(7), system.machine.register(1)], [13, 8n, 247n]);
      assert.deepEqual([...system.machine.ram.subarray(0x14_0007, 0x14_0009)], [0x41, 0]);
    });

    test('the stack segment is #SS, also where another register would be #GP', () => {
      const system = limited('bd10000000 8b4500'); // mov ebp,10h; mov eax,[ebp]
      setSegment(system.machine.cpu, SEGMENT.SS, { selector: SELECTOR.USER_DATA, attributes: 0xc0f3, limit: 0xf });
      system.machine.cpu.mmu.selectMode();
      assert.equal(system.run()?.vector, 12);
    });

    test('what is inside is reached', () => {
      // gs = small; mov ecx,gs:[7]; gs = down; mov edx,gs:[500000h]; lea eax,gs:[-1]; ud2
      const system = limited('b853000000 8ee8 658b0d07000000 b85b000000 8ee8 658b1500005000 658d05ffffffff 0f0b');
      system.view.setUint32(0x14_0007, 0x1234_5678, true);
      system.view.setUint32(0x50_0000, 0x8765_4321, true);
      assert.equal(system.run()?.vector, 6);
      const { register } = system.machine;
      assert.deepEqual([register(1), register(2), register(0)], [0x1234_5678n, 0x8765_4321n, 0xffff_ffffn]);
    });
  });

  test('code that both modes run is decoded for each of them', () => {
    // 48 ff c0 is INC RAX in 64-bit code and DEC EAX; INC EAX in 32-bit code.
    // call f; call far [100020h]; hlt; f: inc rax; ret
    const system = machineOf('e80b000000 ff1d15000000 f4 90909090 48ffc0 c3');
    put(system.machine, CODE_START + 0x20, '000210003800');
    put(system.machine, 0x10_0200, 'e80bfeffffcb'); // call f; retf
    assert.equal(system.run(), null);
    assert.equal(system.machine.register(0), 1n);
  });
});

describe('protected mode', () => {
  /** Paging and long mode off, gates of 8 bytes, a 32-bit task state segment. */
  function protectedMode(): SystemMachine {
    const system = machineOf('');
    const { cpu } = system.machine;
    Object.assign(cpu.system, { cr0: CR0.PE | CR0.ET, efer: 0, cr4: 0 });
    setSegment(cpu, SEGMENT.CS, { selector: SELECTOR32.CODE, attributes: 0xc09a });
    system.view.setUint32(AT.TSS + 4, AT.RSP0, true);
    system.view.setUint16(AT.TSS + 8, SELECTOR.DATA, true);
    for (let vector = 0; vector < 256; vector++) {
      const handler = AT.HANDLERS + vector;
      system.view.setUint32(AT.IDT + 8 * vector, (handler & 0xffff) | (SELECTOR32.CODE << 16), true);
      system.view.setUint32(AT.IDT + 8 * vector + 4, (handler & 0xffff0000) | 0xee00, true);
    }
    cpu.mmu.tlb.flush();
    cpu.mmu.selectMode();
    return system;
  }

  const words = ({ view, machine }: SystemMachine, count: number): number[] =>
    Array.from({ length: count }, (_, i) => view.getUint32(Number(machine.register(4)) + 4 * i, true));

  test("an interrupt of user code changes to the task's stack, and IRET goes back", () => {
    const system = protectedMode();
    const { cpu } = system.machine;
    enterUser32(system, 'b801000000cd30400f0b'); // mov eax,1; int 30h; inc eax; ud2
    assert.equal(cpu.run(1000).reason, 'halt');
    assert.equal(cpu.instructionPointerLow, AT.HANDLERS + 0x31);
    assert.equal(Number(system.machine.register(4)), AT.RSP0 - 20);
    const [eip, cs, , esp, ss] = words(system, 5);
    assert.deepEqual([eip, cs], [AT.USER_CODE + 7, SELECTOR32.USER_CODE]);
    assert.deepEqual([esp, ss], [AT.USER_STACK, SELECTOR.USER_DATA]);
    put(system.machine, AT.HANDLERS + 0x31, 'cf');
    cpu.halted = false;
    assert.equal(cpu.run(1000).reason, 'halt');
    assert.equal(cpu.instructionPointerLow, AT.HANDLERS + 7);
    assert.deepEqual([system.machine.register(0), words(system, 1)[0]], [2n, AT.USER_CODE + 8]);
  });

  test('an interrupt at the same level stays on its stack; an error code comes on top', () => {
    const system = protectedMode();
    put(system.machine, CODE_START, '66b850008ed8'); // mov ax,50h; mov ds,ax: beyond the table's end
    const { cpu } = system.machine;
    assert.equal(cpu.run(1000).reason, 'halt');
    assert.equal(cpu.instructionPointerLow, AT.HANDLERS + 14);
    assert.deepEqual(words(system, 3), [0x50, CODE_START + 4, SELECTOR32.CODE]);
    assert.equal(Number(system.machine.register(4)), AT.STACK - 16);
  });
});

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

describe('descriptors', () => {
  test('LAR and LSL tell what the level may see', () => {
    // mov eax,38h; lar ebx,eax; setz r8b; lsl ecx,eax; mov eax,28h; lar edx,eax; setz r9b; mov eax,80h; lar esi,eax; setz r10b
    const system = machineOf('b8380000000f02d8410f94c00f03c8b8280000000f02d0410f94c1b8800000000f02f0410f94c2f4');
    assert.equal(system.run(), null);
    const { register } = system.machine;
    assert.deepEqual([register(3), register(8), register(1)], [0x00cf_9a00n & 0xf0ff00n, 1n, 0xffff_ffffn]);
    assert.deepEqual([register(2), register(9)], [0x8900n, 1n]);
    assert.deepEqual([register(6), register(10)], [0n, 0n]);
  });

  test('loading a segment marks it accessed, loading the task register marks the task busy', () => {
    const system = machineOf('b8480000008ed8b8280000000f00d80f00d8'); // mov eax,48h; mov ds,eax; mov eax,28h; ltr eax; ltr eax
    system.machine.cpu.system.tr.selector = 0;
    const entered = system.run();
    assert.equal(system.view.getUint8(AT.GDT + 0x48 + 5), 0x93);
    assert.equal(system.view.getUint8(AT.GDT + SELECTOR.TSS + 5), 0x8b);
    assert.deepEqual([entered?.vector, entered?.errorCode], [13, 0x28n], 'a busy task cannot be loaded again');
  });

  const FAULTS: readonly (readonly [name: string, code: string, vector: number, errorCode: bigint])[] = [
    ['a far jump to data', 'ff2d00000000 00001000 1000', 13, 0x10n],
    ['a far jump to nothing', 'ff2d00000000 00001000 0000', 13, 0n],
    ['a far jump beyond the table', 'ff2d00000000 00001000 8000', 13, 0x80n],
    ['a far jump to code of the user', 'ff2d00000000 00001000 2300', 13, 0x20n],
    ['a stack segment that is code', 'b8080000008ed0', 13, 8n],
    ['IRET to a null selector', '6a10 54 9c 6a00 6a00 48cf', 13, 0n],
    ['IRET to an inner level', '6a1b 6a00 9c 6a08 6a00 48cf', 13, 0x18n],
    ['IRET to data', '6a10 54 9c 6a10 6a00 48cf', 13, 0x10n],
  ];
  for (const [name, code, vector, errorCode] of FAULTS) {
    test(`${name} is a fault`, () => {
      const entered = machineOf(code).run();
      assert.deepEqual([entered?.vector, entered?.errorCode], [vector, errorCode]);
    });
  }

  test('a segment that is not present is #NP, for the stack #SS', () => {
    for (const [code, vector] of [
      ['b8480000008ed8', 11],
      ['b8480000008ed0', 12],
    ] as const) {
      const system = machineOf(code);
      system.view.setUint8(AT.GDT + 0x48 + 5, 0x12);
      const entered = system.run();
      assert.deepEqual([entered?.vector, entered?.errorCode], [vector, 0x48n]);
    }
  });
});

function enterUser32(system: SystemMachine, code: string): void {
  system.enterUser(code);
  const { cpu } = system.machine;
  setSegment(cpu, SEGMENT.CS, { selector: SELECTOR32.USER_CODE, attributes: 0xc0fa });
  for (const number of [SEGMENT.SS, SEGMENT.DS, SEGMENT.ES]) {
    setSegment(cpu, number, { selector: SELECTOR.USER_DATA, attributes: 0xc0f3 });
  }
  cpu.mmu.selectMode();
}

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SEGMENT } from './layout.ts';
import { EFER } from './system-state.ts';
import { CODE_START } from './testing.ts';
import { BASE, enterUser32, machineOf, put, SELECTOR32, setSegment } from './testing-legacy.ts';
import { AT, SELECTOR, type SystemMachine } from './testing-system.ts';

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

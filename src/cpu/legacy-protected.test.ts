import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SEGMENT } from './layout.ts';
import { CR0 } from './system-state.ts';
import { CODE_START } from './testing.ts';
import { enterUser32, machineOf, put, SELECTOR32, setSegment } from './testing-legacy.ts';
import { AT, SELECTOR, type SystemMachine } from './testing-system.ts';

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

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLAG, SEGMENT } from './layout.ts';
import { CODE_START } from './testing.ts';
import { AT, SELECTOR, SystemMachine } from './testing-system.ts';

const at = (offset: number): bigint => BigInt(CODE_START + offset);

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

  test('a conditional branch is followed by a trap, taken or not', () => {
    for (const [zero, target] of [
      [0, 4],
      [FLAG.ZF, 2],
    ] as const) {
      const system = new SystemMachine('7502 ffc0 f4'); // jnz over inc eax; hlt
      system.machine.cpu.flags = FLAG.TF | zero;
      const entered = system.run();
      assert.deepEqual([entered?.vector, entered?.rip, system.machine.register(0)], [1, at(target), 0n]);
    }
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

describe('single steps of 32-bit user code', () => {
  function stepping(code: string): SystemMachine {
    const system = new SystemMachine('90');
    system.enterUser(code);
    const { cpu } = system.machine;
    Object.assign(cpu.segments.register(SEGMENT.CS), { attributes: 0xc0fa });
    cpu.flags |= FLAG.TF;
    cpu.mmu.selectMode();
    return system;
  }

  test('a trap follows an INTO that does nothing, and does not come on the way to its handler', () => {
    for (const [overflow, vector] of [
      [FLAG.OF, 4],
      [0, 1],
    ] as const) {
      const system = stepping('ce 90');
      system.setGate(4, { dpl: 3 });
      system.machine.cpu.flags |= overflow;
      const entered = system.run();
      assert.deepEqual([entered?.vector, entered?.rip], [vector, BigInt(AT.USER_CODE + 1)]);
    }
  });

  test('SYSENTER leaves TF, whose trap finds its target', () => {
    const system = stepping('0f34');
    const entry = { sysenterSelector: SELECTOR.CODE, sysenterIpLow: CODE_START, sysenterSpLow: AT.STACK };
    Object.assign(system.machine.cpu.system, entry);
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip], [1, BigInt(CODE_START)]);
  });
});

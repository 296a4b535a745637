import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLAG, SEGMENT } from './layout.ts';
import { CODE_START } from './testing.ts';
import { AT, SELECTOR, SystemMachine } from './testing-system.ts';

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

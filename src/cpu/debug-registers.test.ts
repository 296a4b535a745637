import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CODE_START } from './testing.ts';
import { SystemMachine } from './testing-system.ts';

/** Bit 13: GD of DR7, BD of DR6. */
const BIT13 = 1 << 13;

/** Runs code with general detect on; user code if `user`. */
function detect(code: string, user = false) {
  const system = new SystemMachine(code);
  if (user) system.enterUser(code);
  const state = system.machine.cpu.system;
  state.dr7 |= BIT13;
  return { entered: system.run(), state };
}

describe('general detect of DR7 (SDM vol. 3 §17.2.4)', () => {
  for (const [name, code] of [
    ['reading', '0f21d8'], // mov rax,dr3
    ['writing', '0f23d8'], // mov dr3,rax
  ] as const) {
    test(`${name} a debug register is #DB before it happens, with BD, and turns detection off`, () => {
      const { entered, state } = detect(`b801000000${code}f4`);
      assert.deepEqual([entered?.vector, entered?.rip], [1, BigInt(CODE_START + 5)]);
      assert.equal(state.dr6 & BIT13, BIT13);
      assert.equal(state.dr7 & BIT13, 0);
      assert.equal(state.breakpoints[6], 0);
    });
  }

  test('user code gets #GP, and detection stays on', () => {
    const { entered, state } = detect('0f21d8', true);
    assert.equal(entered?.vector, 13);
    assert.deepEqual([state.dr6 & BIT13, state.dr7 & BIT13], [0, BIT13]);
  });
});

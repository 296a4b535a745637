import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AT, SystemMachine } from './testing-system.ts';

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

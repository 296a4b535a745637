import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemMachine } from './testing-system.ts';

test('INS reads its port only when both pages of its destination may be written', () => {
  let reads = 0;
  const ports = {
    read: () => {
      reads++;
      return 0;
    },
    write: () => undefined,
  };
  const system = new SystemMachine('6d', { ports }); // insd
  // The last 2 MiB page of the machine that stays is the one below 8 MiB.
  system.view.setBigUint64(0x3000 + 4 * 8, 0n, true);
  system.machine.setRegister(7, 0x7f_fffen);
  const entered = system.run();
  assert.deepEqual([entered?.vector, system.machine.cpu.system.cr2Low, reads], [14, 0x80_0000, 0]);
});

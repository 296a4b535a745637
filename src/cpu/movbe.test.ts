import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestMachine } from './testing.ts';

test('MOVBE turns bytes around both ways; 16 bits keep the rest of the register, 32 bits clear it', () => {
  // movbe rbx,[300000h]; movbe ecx,[300000h]; movbe dx,[300000h]; movbe [300010h],rax; movbe [300020h],eax; movbe [300030h],ax; hlt
  const machine = createTestMachine(`480f38f01c2500003000 0f38f00c2500003000 660f38f0142500003000
    480f38f1042510003000 0f38f1042520003000 660f38f1042530003000 f4`);
  machine.ram.set([1, 2, 3, 4, 5, 6, 7, 8], 0x300000);
  for (const register of [1, 2, 3]) machine.setRegister(register, 0xaaaaaaaaaaaaaaaan);
  machine.setRegister(0, 0x1122334455667788n);
  assert.deepEqual(machine.cpu.run(1000), { reason: 'halt' });
  assert.deepEqual([3, 1, 2].map(machine.register), [0x0102030405060708n, 0x01020304n, 0xaaaaaaaaaaaa0102n]);
  const stored = (at: number): string => Buffer.from(machine.ram.subarray(at, at + 9)).toString('hex');
  assert.equal(stored(0x300010), '112233445566778800');
  assert.equal(stored(0x300020), '556677880000000000');
  assert.equal(stored(0x300030), '778800000000000000');
});

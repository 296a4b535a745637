import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { initialise, startUp } from './reset.ts';
import { createTestMachine } from './testing.ts';

suite('INIT and the start-up message', () => {
  test('after INIT the processor is in real mode, its registers cleared', () => {
    const machine = createTestMachine('48c7c0ffffffff f4', { cpuid: () => [0x806f8, 0, 0, 0] });
    const { cpu } = machine;
    cpu.run(10);
    assert.equal(machine.register(0), 2n ** 64n - 1n);
    initialise(cpu);
    assert.equal(machine.register(0), 0n);
    assert.equal(machine.register(2), 0x806f8n);
    assert.equal(cpu.flags, 2);
    assert.deepEqual([cpu.system.cr0, cpu.system.cr3, cpu.system.cr4, cpu.system.efer], [0x6000_0010, 0, 0, 0]);
    assert.equal(cpu.instructionPointerLow, 0xfff0);
    assert.equal(cpu.halted, false);
  });

  test('it starts at the page of the message, which is what CS says', () => {
    const machine = createTestMachine('f4');
    const { cpu, ram } = machine;
    // mov ax,cs; mov bx,[cs:8]; hlt
    ram.set(Uint8Array.fromHex('8cc8 2e8b1e0800 f4'.replaceAll(' ', '')), 0x9a000);
    ram.set(Uint8Array.fromHex('3412'), 0x9a008);
    initialise(cpu);
    startUp(cpu, 0x9a);
    assert.equal(cpu.run(100).reason, 'halt');
    assert.equal(machine.register(0), 0x9a00n);
    assert.equal(machine.register(3), 0x1234n);
  });

  test('code that was decoded before INIT is decoded in real mode’s way after it', () => {
    // 64-bit: xor eax,eax; inc (prefix 40..) — 48 is REX.W in long mode, DEC AX in real mode.
    const machine = createTestMachine('f4');
    const { cpu, ram } = machine;
    ram.set(Uint8Array.fromHex('b80500 48 f4'.replaceAll(' ', '')), 0x8000);
    for (let round = 0; round < 2; round++) {
      initialise(cpu);
      startUp(cpu, 8);
      assert.equal(cpu.run(100).reason, 'halt');
      assert.equal(machine.register(0), 4n);
    }
  });
});

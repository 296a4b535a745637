import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE_START, createTestMachine } from './testing.ts';

test('an instruction across two pages that writes over itself is seen to, also when its second page has changed unseen', () => {
  const start = CODE_START + 0xffa;
  const { cpu, ram, register, setRegister } = createTestMachine('f4');
  // mov byte [rip-7],0x90; hlt. Written over it is: nop; add eax,-7; nop; hlt.
  const code = Uint8Array.of(0xc6, 0x05, 0xf9, 0xff, 0xff, 0xff, 0x90, 0xf4);
  cpu.mmu.writeRam(start, code);
  const run = (): void => {
    cpu.setRip(start, 0);
    cpu.halted = false;
    assert.equal(cpu.run(100).reason, 'halt');
  };
  setRegister(0, 0n);
  for (const round of [1, 2]) {
    cpu.mmu.writeRam(start, code.subarray(0, 1));
    // As a device does.
    ram[CODE_START + 0x1010] = round;
    run();
    assert.equal(ram[start], 0x90);
    run();
    assert.equal(register(0), BigInt.asUintN(32, BigInt(-7 * round)));
  }
});

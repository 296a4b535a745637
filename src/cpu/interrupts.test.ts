import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLAG } from './layout.ts';
import { CODE_START } from './testing.ts';
import { AT, SystemMachine } from './testing-system.ts';

const at = (offset: number): bigint => BigInt(CODE_START + offset);

describe('interrupts', () => {
  test('STI lets exactly one more instruction run', () => {
    // sti; inc eax; inc eax; hlt
    const system = new SystemMachine('fb ffc0 ffc0 f4');
    system.waiting.push(0x40);
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip, system.machine.register(0)], [0x40, at(3), 1n]);
  });

  test('that one instruction may be a conditional branch that is not taken', () => {
    const system = new SystemMachine('fb 7502 ffc0 f4'); // sti; jnz over inc eax; hlt
    system.machine.cpu.flags = FLAG.ZF;
    system.waiting.push(0x40);
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip, system.machine.register(0)], [0x40, at(3), 0n]);
  });

  test('between STI and CLI nothing is taken, with a branch or without', () => {
    // sti; cli; jmp +0; hlt
    const system = new SystemMachine('fb fa eb00 f4');
    system.waiting.push(0x40);
    assert.equal(system.run(), null);
    assert.deepEqual(system.waiting, [0x40]);
  });

  test('STI; HLT takes the interrupt after HLT', () => {
    const system = new SystemMachine('fb f4 90');
    system.waiting.push(0x40);
    assert.equal(system.run()?.rip, at(2));
  });

  test('MOV SS lets exactly one more instruction run', () => {
    // mov eax,10h; sti; mov ss,eax; inc ecx; inc ecx; hlt: the instruction after STI is MOV SS, which has a shadow of its own
    const system = new SystemMachine('b810000000 fb 8ed0 ffc1 ffc1 f4');
    system.waiting.push(0x40);
    const entered = system.run();
    assert.deepEqual([entered?.rip, system.machine.register(1)], [at(10), 1n]);
  });

  test('an interrupt that comes after STI waits for one more instruction all the same', () => {
    // nop; sti; hlt: the run ends at the end of STI's block
    const system = new SystemMachine('90 fb f4 90');
    assert.deepEqual(system.machine.cpu.run(0), { reason: 'budget' });
    system.waiting.push(0x40);
    assert.equal(system.run()?.rip, at(3));
  });

  test('an instruction after STI that goes back to itself does not keep interrupts off', () => {
    const system = new SystemMachine('fb ebfe'); // sti; jmp to itself
    system.waiting.push(0x40);
    assert.equal(system.run()?.rip, at(1));
  });

  test('an interrupt gate clears IF and a trap gate keeps it', () => {
    for (const { type, kept } of [
      { type: 0xe, kept: 0 },
      { type: 0xf, kept: FLAG.IF },
    ]) {
      const system = new SystemMachine('fb 90 90 f4');
      system.setGate(0x40, { type });
      system.waiting.push(0x40);
      system.run();
      assert.equal(system.machine.cpu.flags & FLAG.IF, kept);
    }
  });

  test('an NMI is taken with interrupts off, and no other one until IRET', () => {
    const system = new SystemMachine('90 90 f4');
    system.nmi = true;
    assert.equal(system.run()?.vector, 2);
    system.nmi = true;
    assert.deepEqual(system.machine.cpu.run(1000), { reason: 'halt' });
    assert.equal(system.nmi, true);
    system.machine.ram.set([0x48, 0xcf], AT.HANDLERS + 3); // iretq
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip, system.nmi], [2, at(0), false]);
  });
});

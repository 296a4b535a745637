import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CR4 } from './system-state.ts';
import { CODE_START } from './testing.ts';
import { AT, SELECTOR, SystemMachine } from './testing-system.ts';

const at = (offset: number): bigint => BigInt(CODE_START + offset);

describe('exceptions', () => {
  test('a fault in user mode switches to RSP0 and saves the user stack', () => {
    const system = new SystemMachine('');
    system.enterUser('0f0b');
    const entered = system.run();
    assert.deepEqual(
      [entered?.vector, entered?.rip, entered?.cs, entered?.rsp, entered?.ss],
      [6, BigInt(AT.USER_CODE), BigInt(SELECTOR.USER_CODE), BigInt(AT.USER_STACK), BigInt(SELECTOR.USER_DATA)],
    );
    assert.equal(system.machine.register(4), BigInt(AT.RSP0 - 40));
    assert.equal(system.machine.cpu.system.cpl, 0);
  });

  test('a gate with an IST entry switches the stack at the same privilege', () => {
    const system = new SystemMachine('0f0b');
    system.setGate(6, { ist: 1 });
    assert.equal(system.run()?.rsp, BigInt(AT.STACK));
    assert.equal(system.machine.register(4), BigInt(AT.IST1_END - 40));
  });

  test('the stack of a handler is aligned to 16 bytes', () => {
    const system = new SystemMachine('0f0b');
    system.machine.setRegister(4, BigInt(AT.STACK - 3));
    assert.equal(system.run()?.rsp, BigInt(AT.STACK - 3));
    assert.equal(system.machine.register(4) % 16n, 8n);
  });

  test('INT n through a gate of a lower DPL is #GP with the gate in its error code', () => {
    const system = new SystemMachine('');
    system.enterUser('cd41');
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode], [13, 0x41n * 8n + 2n]);
  });

  test('INT1 of user code goes through a gate of a lower DPL', () => {
    const system = new SystemMachine('');
    system.enterUser('f1');
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip], [1, BigInt(AT.USER_CODE + 1)]);
  });

  test('INT n through a gate of DPL 3 saves the address behind it', () => {
    const system = new SystemMachine('');
    system.setGate(0x41, { dpl: 3 });
    system.enterUser('cd41');
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.rip], [0x41, BigInt(AT.USER_CODE + 2)]);
  });

  test('INT n that faults leaves the address of the instruction', () => {
    const system = new SystemMachine('90 cd41');
    system.setGate(0x41, { present: false });
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode, entered?.rip], [11, 0x41n * 8n + 2n, at(1)]);
  });

  test('an interrupt whose delivery ends in a shutdown ends the run', () => {
    const system = new SystemMachine('fb 90 f4');
    system.machine.cpu.system.idt.limit = 0;
    system.waiting.push(0x40);
    assert.throws(() => system.run(), /triple fault/);
  });

  test('a reserved bit of CR4 is #GP', () => {
    // mov rax,cr4; bts rax,30; mov cr4,rax
    const system = new SystemMachine('0f20e0 480fbae81e 0f22e0');
    assert.equal(system.run()?.vector, 13);
  });

  test('undefined bytes become an instruction when a later one of them is written', () => {
    // mov byte [100040h],a2h; iretq; the bytes lie across what the decoder keeps in one piece
    const system = new SystemMachine('eb3d');
    const { ram } = system.machine;
    ram.set([0x0f, 0x04, 0xf4], CODE_START + 0x3f);
    assert.equal(system.run()?.vector, 6);
    ram.set(Uint8Array.fromHex('c6042540001000a248cf'), AT.HANDLERS + 7);
    assert.equal(system.run(), null);
  });

  for (const [name, code, pushed] of [
    ['JMP', 'ffe0', 0],
    ['CALL', 'ffd0', 0],
    ['RET', '50 c20800', 1], // push rax; ret 8
  ] as const) {
    test(`${name} to an address that is not canonical is #GP of that instruction, with the stack as it was`, () => {
      for (const budgetIsUsedUp of [false, true]) {
        // mov rax,4141414141414141h
        const system = new SystemMachine(`48b84141414141414141 ${code}`);
        if (budgetIsUsedUp) assert.equal(system.machine.cpu.run(0).reason, 'budget');
        const entered = system.run();
        assert.deepEqual([entered?.vector, entered?.errorCode, entered?.rip], [13, 0n, at(10 + pushed)]);
        assert.equal(entered?.rsp, BigInt(AT.STACK - 8 * pushed));
      }
    });
  }

  test('CR4.TSD keeps the time stamp counter from user code', () => {
    for (const code of ['0f31', '0f01f9']) {
      const system = new SystemMachine('');
      system.machine.cpu.system.cr4 |= CR4.TSD;
      system.enterUser(`${code} 0f0b`);
      const entered = system.run();
      assert.deepEqual([entered?.vector, entered?.errorCode, entered?.rip], [13, 0n, BigInt(AT.USER_CODE)]);
    }
  });

  test('a gate that is not present is #NP', () => {
    const system = new SystemMachine('0f0b');
    system.setGate(6, { present: false });
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode], [11, 6n * 8n + 3n]);
  });

  test('a second contributory fault during delivery is a double fault', () => {
    // div by zero: #DE, whose gate is not present: #NP
    const system = new SystemMachine('31c9 f7f1');
    system.setGate(0, { present: false });
    const entered = system.run();
    assert.deepEqual([entered?.vector, entered?.errorCode], [8, 0n]);
  });

  test('a fault that takes the place of another may itself give way to a page fault', () => {
    // #UD, whose gate is not present: #NP, whose stack is not mapped
    const system = new SystemMachine('0f0b');
    system.setGate(6, { present: false });
    system.setGate(11, { ist: 1 });
    system.view.setBigUint64(AT.TSS + 0x24, 0x7fff_0000_0000n, true);
    assert.deepEqual([system.run()?.vector, system.machine.cpu.system.cr2High], [14, 0x7ffe]);
  });

  test('handlers that fault at their first instruction come to the end of the budget', () => {
    // #UD on a stack of its own, whose handler is undefined too; and a handler that may not be fetched
    const undefinedHandler = new SystemMachine('0f0b');
    undefinedHandler.setGate(6, { ist: 1 });
    undefinedHandler.machine.ram.set([0x0f, 0x0b], AT.HANDLERS + 6);
    assert.deepEqual(undefinedHandler.machine.cpu.run(1000), { reason: 'budget' });
    const unmapped = new SystemMachine('0f0b');
    for (const vector of [6, 14]) {
      unmapped.setGate(vector, { ist: 1 });
      unmapped.view.setUint32(AT.IDT + 16 * vector + 8, 0x7000, true);
    }
    assert.deepEqual(unmapped.machine.cpu.run(1000), { reason: 'budget' });
  });

  test('a fault of the double fault is a shutdown', () => {
    const system = new SystemMachine('31c9 f7f1');
    system.setGate(0, { present: false });
    system.setGate(8, { present: false });
    assert.throws(() => system.run(), /triple fault; vector 0/);
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { STATE } from './layout.ts';
import { CODE_START, createTestMachine, NO_INTERRUPTS, type TestMachine } from './testing.ts';
import { WATCH } from './watchpoints.ts';

const RAX = 0;
const RCX = 1;
const DATA = 0x30_0000;

const rip = ({ cpu }: TestMachine): number => cpu.words[STATE.RIP >> 2] as number;
const at = (offset: number) => ({ low: CODE_START + offset, high: 0 });
const watch = (accesses: number, { offset = 0, sizeBytes = 4 } = {}) => ({
  low: DATA + offset,
  high: 0,
  sizeBytes,
  accesses,
});

/** xor eax,eax; mov ecx,3; L: add eax,ecx; cmp ecx,1; jne N; nop; N: dec ecx; jnz L; hlt */
const LOOP = '31c0 b903000000 01c8 83f901 7501 90 ffc9 75f4 f4';
const ADD = 7;
const JNE = 12;
const DEC = 15;

for (const threshold of [undefined, 0]) {
  const jit =
    threshold === undefined ? undefined : { threshold, limits: { blocks: 64, records: 600 }, regionsMax: 100 };
  const how = jit === undefined ? 'interpreted' : 'compiled';
  describe(`a breakpoint of a debugger, ${how}`, () => {
    test('stops before its instruction, each time', () => {
      const machine = createTestMachine(LOOP, { jit });
      machine.cpu.debugging.set([at(ADD)], []);
      const seen: bigint[] = [];
      for (;;) {
        const { reason } = machine.cpu.run(1000);
        if (reason === 'halt') break;
        assert.equal(reason, 'breakpoint');
        assert.equal(rip(machine), CODE_START + ADD);
        seen.push(machine.register(RCX));
        assert.deepEqual(machine.cpu.step(), { reason: 'stepped' });
        assert.equal(rip(machine), CODE_START + ADD + 2);
      }
      assert.deepEqual(seen, [3n, 2n, 1n]);
      assert.equal(machine.register(RAX), 6n);
    });

    test('between a compare and its branch keeps the flags', () => {
      const machine = createTestMachine(LOOP, { jit });
      machine.cpu.run(1000);
      machine.cpu.setRip(CODE_START, 0);
      machine.cpu.halted = false;
      machine.cpu.debugging.set([at(JNE)], []);
      const next: number[] = [];
      while (machine.cpu.run(1000).reason === 'breakpoint') {
        machine.cpu.step();
        next.push(rip(machine) - CODE_START);
      }
      assert.deepEqual(next, [DEC, DEC, JNE + 2]);
    });

    test('that is taken away stops nothing more', () => {
      const machine = createTestMachine(LOOP, { jit });
      machine.cpu.debugging.set([at(ADD), at(DEC)], []);
      assert.equal(machine.cpu.run(1000).reason, 'breakpoint');
      machine.cpu.debugging.set([], []);
      assert.equal(machine.cpu.run(1000).reason, 'halt');
    });

    test('at the same place of another page stops nothing', () => {
      const machine = createTestMachine(LOOP, { jit });
      machine.cpu.debugging.set([at(ADD + 4096)], []);
      assert.equal(machine.cpu.run(1000).reason, 'halt');
    });
  });

  describe(`data that a debugger watches, ${how}`, () => {
    // L: mov ecx,3; mov [DATA],ecx; mov eax,[DATA]; inc dword [DATA]; lock add [DATA],ecx; xchg eax,[DATA]; push/pop elsewhere; hlt
    const CODE = `b903000000 890c2500003000 8b042500003000 ff042500003000 f0010c2500003000 87042500003000 50 58 f4`;
    const after = { store: 12, load: 19, inc: 26, lock: 34, xchg: 41 };
    const stopsOf = (accesses: number, place = {}): number[] => {
      const machine = createTestMachine(CODE, { jit });
      machine.cpu.debugging.set([], [watch(accesses, place)]);
      const stops: number[] = [];
      for (;;) {
        const stop = machine.cpu.run(1000);
        if (stop.reason === 'halt') break;
        assert.equal(stop.reason, 'watchpoint');
        stops.push(rip(machine) - CODE_START);
      }
      // 3, which becomes 4, then 7, then what was loaded: 3.
      assert.equal(machine.register(RAX), 7n);
      assert.equal(machine.ram[DATA], 3);
      return stops;
    };

    test('is met by writes after the instruction, in the engine and in what it leaves to TypeScript', () => {
      assert.deepEqual(stopsOf(WATCH.WRITE), [after.store, after.inc, after.lock, after.xchg]);
    });

    test('is met by reads', () => {
      assert.deepEqual(stopsOf(WATCH.READ), [after.load, after.inc, after.lock, after.xchg]);
    });

    test('is met by the last byte of an access', () => {
      assert.equal(stopsOf(WATCH.WRITE, { offset: 3, sizeBytes: 1 }).length, 4);
    });

    test('is not met by what is beside it', () => {
      assert.deepEqual(stopsOf(WATCH.READ | WATCH.WRITE, { offset: 4 }), []);
    });
  });
}

test('a string instruction that meets watched data goes on after the stop', () => {
  // mov edi,DATA-16; mov ecx,32; mov al,41h; rep stosb; hlt
  const machine = createTestMachine('bff0ff2f00 b920000000 b041 f3aa f4');
  machine.cpu.debugging.set([], [watch(WATCH.WRITE)]);
  assert.equal(machine.cpu.run(1000).reason, 'watchpoint');
  while (machine.cpu.run(1000).reason !== 'halt');
  assert.deepEqual([...machine.ram.subarray(DATA - 16, DATA + 17)], [...Array(32).fill(0x41), 0]);
});

test('the frame of an interrupt meets watched data of the stack', () => {
  let isPending = false;
  const machine = createTestMachine('fb 90 ebfd', {
    interrupts: {
      ...NO_INTERRUPTS,
      pending: () => isPending,
      acknowledge: () => {
        isPending = false;
        return 0x20;
      },
    },
  });
  // A gate to CODE_START + 0x100, where there is HLT, and a code segment of 64 bits.
  const { cpu, ram } = machine;
  const view = new DataView(ram.buffer, ram.byteOffset);
  view.setUint32(0x5000 + 0x200, (8 << 16) | 0x100, true);
  view.setUint32(0x5000 + 0x204, 0x0010_8e00, true);
  view.setUint32(0x6000 + 8 + 4, 0x00af_9b00, true);
  ram[CODE_START + 0x100] = 0xf4;
  Object.assign(cpu.system.idt, { baseLow: 0x5000, limit: 0xfff });
  Object.assign(cpu.system.gdt, { baseLow: 0x6000, limit: 0xff });
  cpu.run(100);
  isPending = true;
  cpu.debugging.set([], [{ low: 0x20_0000 - 16, high: 0, sizeBytes: 8, accesses: WATCH.WRITE }]);
  assert.equal(cpu.run(100).reason, 'watchpoint');
  assert.equal(rip(machine), CODE_START + 0x100);
  assert.equal(cpu.run(100).reason, 'halt');
});

test('a step ends before the handler of the exception that its instruction raises', () => {
  const machine = createTestMachine('0f0b');
  const view = new DataView(machine.ram.buffer, machine.ram.byteOffset);
  view.setUint32(0x5000 + 0x60, (8 << 16) | 0x100, true);
  view.setUint32(0x5000 + 0x64, 0x0010_8e00, true);
  view.setUint32(0x6000 + 8 + 4, 0x00af_9b00, true);
  Object.assign(machine.cpu.system.idt, { baseLow: 0x5000, limit: 0xfff });
  Object.assign(machine.cpu.system.gdt, { baseLow: 0x6000, limit: 0xff });
  assert.deepEqual(machine.cpu.step(), { reason: 'stepped' });
  assert.equal(rip(machine), CODE_START + 0x100);
});

test('a step of a processor that halts waits for an interrupt', () => {
  const machine = createTestMachine('f4 90');
  assert.deepEqual(machine.cpu.step(), { reason: 'stepped' });
  assert.equal(rip(machine), CODE_START + 1);
  assert.deepEqual(machine.cpu.step(), { reason: 'halt' });
});

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { STATE } from './layout.ts';
import { EXCHANGE_BLOCK, type WideLocks } from './locked-access.ts';
import { CODE_START, createTestMachine, type TestMachine } from './testing.ts';

/** Instructions on memory at RDI, with RAX and RSI as operands and CF set before; LOCK goes before each. */
const INSTRUCTIONS: Readonly<Record<string, string>> = {
  'add [rdi], rsi': '480137',
  'add dword [rdi], esi': '0137',
  'add word [rdi], -3': '668307fd',
  'adc [rdi], rsi': '481137',
  'sub byte [rdi], 0x7f': '802f7f',
  'sbb dword [rdi], 0x12345678': '811f78563412',
  'and word [rdi], si': '662137',
  'or [rdi], rsi': '480937',
  'xor byte [rdi], sil': '403037',
  'inc qword [rdi]': '48ff07',
  'dec word [rdi]': '66ff0f',
  'neg dword [rdi]': 'f71f',
  'not qword [rdi]': '48f717',
  'xadd [rdi], rsi': '480fc137',
  'xadd byte [rdi], ah': '0fc027',
  'cmpxchg [rdi], rsi': '480fb137',
  'cmpxchg dword [rdi], esi': '0fb137',
  'bts dword [rdi], 5': '0fba2f05',
  'btr qword [rdi], 63': '480fba373f',
  'btc [rdi], rsi': '480fbb37',
  'cmpxchg8b [rdi]': '0fc70f',
};

/** Addresses in the machine's memory: aligned, inside 8 bytes, across 8, across 16, across a page. */
const PLACES = [0x300000, 0x300001, 0x300006, 0x30000e, 0x300ffd] as const;

interface Outcome {
  readonly registers: readonly bigint[];
  readonly flags: number;
  readonly memory: string;
}

interface Subject {
  readonly machine: TestMachine;
  /** What the machine has asked of its WideLocks. */
  readonly calls: string[];
}

/** With WideLocks, as if there were several. */
function createSubject(isAlone: boolean): Subject {
  const calls: string[] = [];
  const machine: TestMachine = createTestMachine('', isAlone ? {} : { wideLocks: wideLocksOf(() => machine, calls) });
  return { machine, calls };
}

/** STC, the instruction, HLT. */
function run({ machine, calls }: Subject, code: string, place: number): Outcome {
  const { ram, cpu } = machine;
  calls.length = 0;
  cpu.mmu.writeRam(CODE_START, Uint8Array.fromHex(`f9${code}f4`));
  cpu.setRip(CODE_START, 0);
  cpu.halted = false;
  for (let at = -32; at < 48; at++) ram[place + at] = (at * 37 + 11) & 0xff;
  for (let number = 0; number < 16; number++) machine.setRegister(number, BigInt(number));
  machine.setRegister(0, 0x1122_3344_5566_7788n);
  machine.setRegister(6, 0xfedc_ba98_7654_321fn);
  machine.setRegister(7, BigInt(place));
  cpu.run(1000);
  return {
    registers: Array.from({ length: 16 }, (_, number) => machine.register(number)),
    flags: cpu.flags,
    memory: ram.subarray(place - 32, place + 48).toHex(),
  };
}

/** As the host's processor does it, without the atomicity. */
function wideLocksOf(machine: () => TestMachine, calls: string[]): WideLocks {
  return {
    compareExchange16: (place, block) => {
      calls.push('compareExchange16');
      assert(place % 16 === 0 && block === EXCHANGE_BLOCK);
      const { bytes } = machine().cpu;
      const old = bytes.slice(place, place + 16);
      if (old.toHex() === bytes.subarray(block, block + 16).toHex()) bytes.copyWithin(place, block + 16, block + 32);
      bytes.set(old, block);
    },
    alone: (action) => {
      calls.push('alone');
      action();
    },
  };
}

suite('locked instructions', () => {
  const single = createSubject(true);
  const several = createSubject(false);
  for (const [name, code] of Object.entries(INSTRUCTIONS)) {
    test(`LOCK ${name} does what the same without LOCK does, wherever its operand lies`, () => {
      for (const place of PLACES) {
        const expected = run(single, code, place);
        assert.deepEqual(run(single, `f0${code}`, place), expected, `one processor, ${place.toString(16)}`);
        assert.deepEqual(run(several, `f0${code}`, place), expected, `several, ${place.toString(16)}`);
      }
    });
  }

  test('operands across 16 bytes need the processor alone, those across 8 an exchange of 16, others neither', () => {
    const callsAt = (place: number): readonly string[] => {
      run(several, 'f0480137', place);
      return [...several.calls];
    };
    assert.deepEqual(callsAt(0x300008), []);
    assert.deepEqual(callsAt(0x300004), ['compareExchange16']);
    assert.deepEqual(callsAt(0x30000c), ['alone']);
    assert.deepEqual(callsAt(0x300ffc), ['alone']);
  });

  test('XCHG locks without a prefix', () => {
    // xchg [rdi], rsi
    const { registers, memory } = run(several, '488737', 0x300003);
    assert.deepEqual(several.calls, ['compareExchange16']);
    assert.equal(memory.slice(64, 80), '1f32547698badcfe');
    assert.equal(registers[6], 0x0ee9_c49f_7a55_300bn);
  });

  test('CMPXCHG16B stores RCX:RBX when RDX:RAX is what it finds, else loads that', () => {
    // mov rax,[rdi]; mov rdx,[rdi+8]; mov ebx,1; mov ecx,2; lock cmpxchg16b [rdi]; setz sil; xor eax,eax; cmpxchg16b [rdi]; setz bpl
    const code = '488b07 488b5708 bb01000000 b902000000 f0480fc70f 400f94c6 31c0 480fc70f 400f94c5'.replaceAll(' ', '');
    for (const subject of [single, several]) {
      const { registers, memory } = run(subject, code, 0x300000);
      assert.equal(memory.slice(64, 96), '01000000000000000200000000000000');
      assert.deepEqual([registers[0], registers[2]], [1n, 2n]);
      assert.equal((registers[6] ?? 0n) & 0xffn, 1n);
      assert.equal((registers[5] ?? 0n) & 0xffn, 0n);
    }
  });

  test('a locked write into decoded code is seen by the code', () => {
    // L: mov eax,1; add ebx,eax; cmp ebx,3; je E; lock xor byte [the immediate],3; jmp L; E: hlt
    const code = 'b801000000 01c3 83fb03 740a f08035edffffff03 ebea f4';
    const machine = createTestMachine(code);
    machine.cpu.run(1000);
    assert.equal(machine.register(3), 3n);
  });
});

test('PAUSE is counted, NOP and an exchange with another register are not', () => {
  // pause; nop; rep xchg r8,rax; pause; hlt
  const machine = createTestMachine('f390 90 f34990 f390 f4');
  machine.setRegister(8, 5n);
  machine.cpu.run(100);
  assert.equal(machine.cpu.words[STATE.PAUSES >> 2], 2);
  assert.equal(machine.register(0), 5n);
});

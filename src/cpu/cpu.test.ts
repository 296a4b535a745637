import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CpuStop } from './cpu.ts';
import { CODE_START, createTestMachine, NO_INTERRUPTS, STACK_TOP, type TestMachine } from './testing.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSI = 6;

/** Runs to the next stop that is not the end of a budget. */
function runOn(machine: TestMachine): CpuStop {
  for (let slices = 0; slices < 100; slices++) {
    const stop = machine.cpu.run(1_000_000);
    if (stop.reason !== 'budget') return stop;
  }
  throw new Error('the program did not end');
}

test('a loop with memory, calls, string and bit instructions gives the right registers', () => {
  // xor eax,eax; mov ecx,1000000; add rax,rcx; mov [rsp-64],rax; mov rdx,[rsp-64]; imul rdx,rdx,3; dec rcx; jnz; push rax;
  // call; hlt; lea rbx,[rip]; pop rsi; push rsi; mov edi,300000h; mov ecx,100; mov al,41h; rep stosb; sub rdi,100;
  // movzx r8d,byte [rdi+99]; cmp r8d,41h; sete r9b; shl r8,4; bts r8,40; ret
  const machine = createTestMachine(`31c0 b940420f00 4801c8 48894424c0 488b5424c0 486bd203 48ffc9 75ea 50 e801000000 f4
    488d1df9ffffff 5e 56 bf00003000 b964000000 b041 f3aa 4883ef64 440fb64763 4183f841 410f94c1 49c1e004 490fbae828 c3`);
  assert.deepEqual(runOn(machine), { reason: 'halt' });
  assert.equal(machine.register(RAX), (500000500000n & ~0xffn) | 0x41n);
  assert.equal(machine.register(RCX), 0n);
  assert.equal(machine.register(RDX), 500000500000n * 3n);
  assert.equal(machine.register(8), 0x410n | (1n << 40n));
  assert.equal(machine.register(9) & 0xffn, 1n);
  assert.equal(machine.cpu.instructions, 6000018);
});

test('a function that is rewritten between calls runs as written', () => {
  // mov ecx,3; xor eax,eax; L: call F; mov byte [F+1],10h; dec ecx; jnz L; hlt; F: add al,1; ret
  const machine = createTestMachine('b903000000 31c0 e80c000000 c6050600000010 ffc9 75f0 f4 0401 c3');
  runOn(machine);
  assert.equal(machine.register(RAX), 0x21n);
});

test('an instruction that rewrites the next ones of its own block is seen at once', () => {
  // xor eax,eax; mov byte [N+2],7; nop; N: add eax,1; hlt
  const machine = createTestMachine('31c0 c6050300000007 90 83c001 f4');
  runOn(machine);
  assert.equal(machine.register(RAX), 7n);
});

for (const { what, before } of [
  { what: 'its bytes alone', before: 0 },
  { what: 'bytes from the page before on', before: 3 },
]) {
  test(`code that an MSR's owner writes by way of the CPU is seen at once: ${what}`, () => {
    // L: mov ecx,1234h; mov ebx,1; wrmsr; cmp ebx,2; jne L; hlt. The first WRMSR makes that 2.
    const code = 'b934120000 bb01000000 0f30 83fb02 75ef f4';
    const written = Uint8Array.fromHex(`${'00'.repeat(before)}b934120000bb02`);
    const machine = createTestMachine(code, {
      msrs: {
        read: () => null,
        write: () => {
          machine.cpu.mmu.writeRam(CODE_START - before, written);
          return true;
        },
      },
    });
    assert.deepEqual(machine.cpu.run(1000), { reason: 'halt' });
    assert.equal(machine.register(3), 2n);
  });
}

describe('after an instruction that writes decoded code', () => {
  const FUNCTION = CODE_START + 0x200;
  /** Runs code with decoded code at RDI: call FUNCTION, which returns; lea rdi,[FUNCTION]. */
  const machineOf = (code: string): TestMachine => {
    const machine = createTestMachine(`e8fb010000 488d3df4010000 ${code}`);
    machine.ram[FUNCTION] = 0xc3;
    return machine;
  };

  test('the next page is next at the end of a page', () => {
    const machine = machineOf('ffc0 e9ea0f0000'); // inc eax; jmp to 3 bytes before the end of the page
    // mov byte [rdi],c3h; mov ebx,7; hlt
    machine.ram.set(Uint8Array.fromHex('c607c3bb07000000f4'), CODE_START + 0xffd);
    runOn(machine);
    assert.deepEqual([machine.register(RAX), machine.register(RBX)], [1n, 7n]);
  });

  test('a compare before a branch runs', () => {
    // or eax,5; mov byte [rdi],c3h; cmp ebx,0; jne bad; mov ebx,7; hlt; bad: ud2
    const machine = machineOf('83c805 c607c3 83fb00 7506 bb07000000 f4 0f0b');
    machine.cpu.system.idt.limit = 0;
    assert.deepEqual(runOn(machine), { reason: 'halt' });
    assert.equal(machine.register(RBX), 7n);
  });

  test('instructions that need no operation of their own are passed', () => {
    // mov byte [rdi],c3h; nop; nop; inc ebx; hlt
    const machine = machineOf('c607c3 90 90 ffc3 f4');
    runOn(machine);
    assert.equal(machine.register(RBX), 1n);
  });

  test('code of another page goes on as it was', (context) => {
    // call G; mov byte [G],c3h; inc ebx; hlt; G, on another page: ret
    const machine = createTestMachine('e8fb1f0000 c605f41f0000c3 ffc3 f4');
    machine.ram[CODE_START + 0x2000] = 0xc3;
    runOn(machine);
    const lookup = context.mock.method(machine.cpu.code, 'lookup');
    machine.cpu.halted = false;
    machine.cpu.setRip(CODE_START + 5, 0);
    runOn(machine);
    assert.deepEqual([machine.register(RBX), lookup.mock.callCount()], [2n, 1]);
  });
});

test('code that another process writes is noticed when its page is mapped anew', () => {
  // mov al,1; hlt
  const machine = createTestMachine('b001 f4');
  runOn(machine);
  machine.ram[CODE_START + 1] = 9;
  machine.cpu.mmu.tlb.flush();
  machine.cpu.halted = false;
  machine.cpu.setRip(CODE_START, 0);
  runOn(machine);
  assert.equal(machine.register(RAX), 9n);
});

test('code that a device writes runs as written once the processor is told', () => {
  // F: mov al,1; jmp G; G, on the next page: mov cl,1; hlt
  const machine = createTestMachine('b001 e9f90f0000');
  machine.ram.set([0xb1, 1, 0xf4], CODE_START + 0x1000);
  const again = (): void => {
    machine.cpu.halted = false;
    machine.cpu.setRip(CODE_START, 0);
    runOn(machine);
  };
  again();
  machine.ram[CODE_START + 1] = 2;
  machine.ram[CODE_START + 0x1001] = 2;
  machine.cpu.mmu.externalWrite(CODE_START + 1, 0x1001);
  again();
  assert.deepEqual([machine.register(RAX), machine.register(RCX)], [2n, 2n]);
});

test('a recheck finds what a device has written in any part of the pages that the code TLB knows, and keeps the rest', () => {
  // jmp to the next page, where mov cl,1; hlt lies at the place of each case.
  for (const place of [0x000, 0x03e, 0x7fe, 0x800, 0xffd]) {
    const jump = Buffer.alloc(5, 0xe9);
    jump.writeInt32LE(0x1000 + place - 5, 1);
    const machine = createTestMachine(jump.toString('hex'));
    machine.ram.set([0xb1, 1, 0xf4], CODE_START + 0x1000 + place);
    const decodedByRun = (): number => {
      const before = machine.cpu.code.decoded;
      machine.cpu.halted = false;
      machine.cpu.setRip(CODE_START, 0);
      runOn(machine);
      return machine.cpu.code.decoded - before;
    };
    decodedByRun();
    machine.cpu.code.recheck();
    assert.equal(decodedByRun(), 0, 'nothing was written');
    machine.ram[CODE_START + 0x1000 + place + 1] = 2;
    machine.cpu.code.recheck();
    assert.equal(decodedByRun(), 2, 'one page was written');
    assert.equal(machine.register(RCX), 2n);
  }
});

test('without kept blocks each instruction is decoded whenever it runs', () => {
  const code = 'b903000000 ffc9 75fc f4'; // mov ecx,3; dec ecx; jnz to the instruction before; hlt
  for (const [keepsBlocks, decoded] of [
    [true, 0],
    [false, 8],
  ] as const) {
    const machine = createTestMachine(code, { keepsBlocks });
    const { cpu } = machine;
    runOn(machine);
    const before = cpu.code.decoded;
    cpu.halted = false;
    cpu.setRip(CODE_START, 0);
    runOn(machine);
    assert.equal(cpu.code.decoded - before, decoded);
  }
});

test('an instruction across two pages notices that a device has written its second half', () => {
  const machine = createTestMachine('e9fa0f0000'); // jmp to the last byte of the page: mov eax,imm32; hlt
  machine.ram.set(Uint8Array.fromHex('b801000000f4'), CODE_START + 0xfff);
  for (const value of [1, 2, 3]) {
    machine.ram[CODE_START + 0x1000] = value;
    machine.cpu.halted = false;
    machine.cpu.setRip(CODE_START, 0);
    runOn(machine);
    assert.equal(machine.register(RAX), BigInt(value));
  }
});

test('an instruction across two pages runs after ones that need no operation of their own', () => {
  const machine = createTestMachine('e9bb0f0000'); // jmp to 64 bytes before the end of the page
  machine.ram.fill(0x90, CODE_START + 0xfc0, CODE_START + 0xffe);
  machine.ram.set(Uint8Array.fromHex('b878563412f4'), CODE_START + 0xffe); // mov eax,12345678h; hlt
  runOn(machine);
  assert.equal(machine.register(RAX), 0x12345678n);
});

test('an instruction across two pages runs, and runs anew when its second half changes', () => {
  const machine = createTestMachine('e9f80f0000');
  machine.ram.set(Uint8Array.fromHex('b87856341283c001f4'), CODE_START + 0xffd); // mov eax,12345678h; add eax,1; hlt
  runOn(machine);
  assert.equal(machine.register(RAX), 0x12345679n);
  machine.cpu.setRip(CODE_START + 0x1100, 0);
  machine.ram.set(Uint8Array.fromHex('c605fafeffff99e9f1feffff'), CODE_START + 0x1100); // mov byte [1001h],99h; jmp ffdh
  machine.cpu.halted = false;
  runOn(machine);
  assert.equal(machine.register(RAX) & 0xffffffffn, 0x99345679n);
});

test('a page fault pushes error code and address, with CR2 set', () => {
  // lidt [rip+15h]; mov rax,1122334455h; mov rbx,[rax]; hlt; nop; handler: pop rdx; mov rcx,cr2; pop rsi; hlt; idtr
  const machine = createTestMachine(
    '0f011d15000000 48b85544332211000000 488b18 f4 90 5a 0f20d1 5e f4 ff0f 0000300000000000',
  );
  const gdt = 0x310000;
  const view = new DataView(machine.ram.buffer, machine.ram.byteOffset);
  view.setBigUint64(gdt + 8, 0x00af9b000000ffffn, true);
  Object.assign(machine.cpu.system.gdt, { baseLow: gdt, limit: 0x1f });
  const handler = CODE_START + 0x16;
  view.setUint32(0x300000 + 14 * 16, (handler & 0xffff) | (8 << 16), true);
  view.setUint32(0x300000 + 14 * 16 + 4, 0x8e00 | (handler & 0xffff0000), true);
  assert.deepEqual(runOn(machine), { reason: 'halt' });
  assert.equal(machine.register(RDX), 0n);
  assert.equal(machine.register(RCX), 0x1122334455n);
  assert.equal(machine.register(RSI), BigInt(CODE_START + 0x11));
  assert.equal(machine.register(4), BigInt(STACK_TOP - 48 + 16));
});

test('RDTSCP gives what was written to IA32_TSC_AUX', () => {
  // mov ecx,c0000103h; mov eax,1234h; xor edx,edx; wrmsr; rdtscp; hlt
  const machine = createTestMachine('b9030100c0 b834120000 31d2 0f30 0f01f9 f4');
  runOn(machine);
  assert.equal(machine.register(RCX), 0x1234n);
});

test('a fault without a usable IDT ends in a triple fault', () => {
  const machine = createTestMachine('0f0b');
  machine.cpu.system.idt.limit = 0;
  assert.equal(runOn(machine).reason, 'triple-fault');
});

test('division by zero and overflow leave the operands alone', () => {
  // xor edx,edx; mov eax,5; xor ecx,ecx; div ecx
  const machine = createTestMachine('31d2 b805000000 31c9 f7f1');
  machine.cpu.system.idt.limit = 0;
  assert.equal(runOn(machine).reason, 'triple-fault');
  assert.equal(machine.register(RAX), 5n);
});

test('an interrupt is taken only while RFLAGS.IF is set', () => {
  let waiting = true;
  const machine = createTestMachine('90 fb 90 f4', {
    interrupts: {
      ...NO_INTERRUPTS,
      pending: () => waiting,
      acknowledge: () => {
        waiting = false;
        return 0x40;
      },
    },
  });
  const gdt = 0x310000;
  const view = new DataView(machine.ram.buffer, machine.ram.byteOffset);
  view.setBigUint64(gdt + 8, 0x00af9b000000ffffn, true);
  Object.assign(machine.cpu.system.gdt, { baseLow: gdt, limit: 0x1f });
  Object.assign(machine.cpu.system.idt, { baseLow: 0x300000, limit: 0xfff });
  const handler = CODE_START + 0x100;
  view.setUint32(0x300000 + 0x40 * 16, (handler & 0xffff) | (8 << 16), true);
  view.setUint32(0x300000 + 0x40 * 16 + 4, 0x8e00 | (handler & 0xffff0000), true);
  machine.ram.set([0xb0, 0x77, 0xf4], handler); // mov al,77h; hlt
  runOn(machine);
  assert.equal(machine.register(RAX), 0x77n);
  assert.equal(waiting, false);
});

test('two branches on one compare both see it', () => {
  // mov eax,5; cmp eax,5; jl A; je B; A: mov al,1; hlt; B: mov al,2; hlt
  const machine = createTestMachine('b805000000 83f805 7c02 7403 b001 f4 b002 f4');
  runOn(machine);
  assert.equal(machine.register(RAX), 2n);
});

test('x87 arithmetic keeps 80 bits, and its comparison sets the flags', () => {
  // fninit; fld1; fidiv word [rip+d] (3); fstp tbyte [rsp-16]; fld1; fldpi; fcomip st1; seta al; fnstsw ax → in rdx; hlt
  const machine = createTestMachine('dbe3 d9e8 de3516000000 db7c24f0 d9e8 d9eb dff1 0f97c3 dfe0 f4 9090909090 0300');
  machine.ram.set([3, 0], CODE_START + 10 + 0x16);
  runOn(machine);
  const view = new DataView(machine.ram.buffer, machine.ram.byteOffset + STACK_TOP - 16);
  assert.equal(view.getBigUint64(0, true), 0xaaaaaaaaaaaaaaabn);
  assert.equal(view.getUint16(8, true), 0x3ffd);
  assert.equal(machine.register(3) & 0xffn, 1n);
});

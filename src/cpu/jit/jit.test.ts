import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CpuStop } from '../cpu.ts';
import { STATE } from '../layout.ts';
import { CODE_START, createTestMachine, STACK_TOP, type TestMachine } from '../testing.ts';
import { JIT_DEFAULTS, type Jit, type JitOptions } from './jit.ts';

/** xor eax,eax; mov ecx,5000; L: add rax,rcx; mov [rsp-64],rax; mov rdx,[rsp-64]; imul rdx,rdx,3; dec rcx; jnz L; hlt */
const LOOP = '31c0 b988130000 4801c8 48894424c0 488b5424c0 486bd203 48ffc9 75ea f4';
/** mov ecx,5000; L: call FUNCTION; call FUNCTION; dec rcx; jnz L; hlt */
const CALLS = 'b988130000 e8f20f0000 e8ed0f0000 48ffc9 75f1 f4';
/** So near to the end of its page that its second instruction crosses it. */
const FUNCTION = CODE_START + 0xffc;
const LOOP_SUM = 12_502_500n;
/** Short, for it is between slices that hot code is compiled. */
const SLICE = 100;

function machine(code: string, options: Partial<JitOptions> = {}): TestMachine & { readonly jit: Jit } {
  const created = createTestMachine(code, { jit: { ...JIT_DEFAULTS, threshold: 10, ...options } });
  const { jit } = created.cpu;
  assert.ok(jit);
  return { ...created, jit };
}

function runToEnd({ cpu }: TestMachine): CpuStop {
  for (let slice = 0; slice < 1000; slice++) {
    const stop = cpu.run(SLICE);
    if (stop.reason !== 'budget') return stop;
  }
  return { reason: 'budget' };
}

function restart({ cpu, setRegister }: TestMachine): void {
  cpu.setRip(CODE_START, 0);
  cpu.halted = false;
  setRegister(4, BigInt(STACK_TOP));
}

describe('the compiler of hot code', () => {
  test('compiles a loop once, and it computes what it did', () => {
    const m = machine(LOOP);
    for (let round = 0; round < 3; round++) {
      restart(m);
      assert.equal(runToEnd(m).reason, 'halt');
      assert.deepEqual([m.register(0), m.register(1), m.register(2)], [LOOP_SUM, 0n, 3n * LOOP_SUM]);
    }
    // The loop; what is before it has run three times only.
    assert.equal(m.jit.compiled, 1);
    assert.ok(m.jit.compiledBytes > 100);
  });

  test('counts the same instructions as the interpreter', () => {
    const [m, interpreted] = [machine(LOOP), createTestMachine(LOOP)];
    for (const each of [m, interpreted]) assert.equal(runToEnd(each).reason, 'halt');
    assert.equal(m.cpu.instructions, interpreted.cpu.instructions);
  });

  test('comes out of a loop without end when the budget is used up, with the state of an instruction', () => {
    // L: inc rax; jmp L
    const m = machine('48ffc0 ebfb');
    for (let slice = 0; slice < 500; slice++) assert.equal(m.cpu.run(SLICE).reason, 'budget');
    assert.equal(m.jit.compiled, 1);
    const rounds = Number(m.register(0));
    assert.ok(rounds > 20_000 && rounds < 26_000, `${rounds} rounds`);
  });

  test('forgets what another writes, and compiles it again', () => {
    const m = machine(LOOP);
    runToEnd(m);
    // imul rdx,rdx,5
    m.cpu.mmu.writeRam(CODE_START + 23, Uint8Array.of(5));
    restart(m);
    runToEnd(m);
    assert.equal(m.register(2), 5n * LOOP_SUM);
    assert.equal(m.jit.compiled, 2);
  });

  test('code that writes itself runs as it is written, from the next instruction on', () => {
    // mov ecx,100; L: inc byte [rip+2]; add eax,0 (its immediate is what changes); dec ecx; jnz L; hlt
    const m = machine('b964000000 fe0502000000 83c000 ffc9 75f3 f4', { threshold: 0 });
    assert.equal(runToEnd(m).reason, 'halt');
    assert.equal(m.register(0), 5050n);
    assert.ok(m.jit.compiled > 0);
  });

  test('a fault leaves the registers as they were before its instruction', () => {
    // mov ecx,1000; L: add rax,8; mov rdx,[rbx+rax]; cmp rax,7000; jb L; (rbx so that it ends at an address that is not canonical)
    const m = machine('b9e8030000 4883c008 488b1403 483d581b0000 72f0 f4');
    m.setRegister(3, 0x7fff_ffff_f000n - 6000n);
    m.setRegister(0, 0n);
    const identity = createTestMachine('b9e8030000 4883c008 488b1403 483d581b0000 72f0 f4');
    identity.setRegister(3, 0x7fff_ffff_f000n - 6000n);
    identity.setRegister(0, 0n);
    // Without an IDT a fault is a triple fault: registers stay.
    assert.deepEqual(runToEnd(m), runToEnd(identity));
    assert.equal(m.register(0), identity.register(0));
  });

  test('flags that a helper sets are seen by the condition after it', () => {
    // mov ecx,100; L: xor eax,eax; stc; rcl by a helper: rcl eax,1 (CF from the top bit, 0); setc dl; add ebx,edx; dec ecx; jnz L; hlt
    const code = 'b964000000 31db 31c0 f9 d1d0 0f92c2 0fb6d2 01d3 ffc9 75ef f4';
    const [m, interpreted] = [machine(code), createTestMachine(code)];
    for (const each of [m, interpreted]) assert.equal(runToEnd(each).reason, 'halt');
    assert.deepEqual([m.register(3), m.register(0)], [interpreted.register(3), interpreted.register(0)]);
    assert.ok(m.jit.compiled > 0);
  });

  test('a compare with memory that its branch has taken in finds its operand', () => {
    // mov ecx,100; L: test [rsp-8],rcx; jnz N; inc rbx; N: mov [rsp-8],rcx; dec ecx; jnz L; hlt
    const code = 'b964000000 48854c24f8 7503 48ffc3 48894c24f8 ffc9 75ed f4';
    const [m, interpreted] = [machine(code), createTestMachine(code)];
    for (const each of [m, interpreted]) assert.equal(runToEnd(each).reason, 'halt');
    assert.equal(m.register(3), interpreted.register(3));
    assert.ok(m.jit.compiled > 0);
  });

  test('goes through calls of a function in another page and back without leaving', () => {
    // mov ecx,5000; L: call F; call F; dec rcx; jnz L; hlt; at the end of the page, F: inc rax; add rbx,rax (across pages); ret
    const [m, interpreted] = [machine(CALLS), createTestMachine(CALLS)];
    for (const each of [m, interpreted]) {
      each.cpu.mmu.writeRam(FUNCTION, Uint8Array.from(Buffer.from('48ffc0 4801c3 c3'.replaceAll(' ', ''), 'hex')));
      for (const register of [0, 3]) each.setRegister(register, 0n);
      assert.equal(runToEnd(each).reason, 'halt');
    }
    assert.deepEqual([m.register(0), m.register(3)], [10_000n, 50_005_000n]);
    assert.equal(m.cpu.instructions, interpreted.cpu.instructions);
    // A call and a return would look code up, and come to it by way of records.
    assert.ok(m.jit.compiled >= 1);
  });

  test('a function in another page that is written anew is called as it is then', () => {
    const m = machine(CALLS);
    for (const [body, step] of [
      ['48ffc0 4801c3 c3', 1n],
      ['4883c007 4801c3 c3', 7n],
    ] as const) {
      m.cpu.mmu.writeRam(FUNCTION, Uint8Array.from(Buffer.from(body.replaceAll(' ', ''), 'hex')));
      restart(m);
      for (const register of [0, 3]) m.setRegister(register, 0n);
      assert.equal(runToEnd(m).reason, 'halt');
      assert.equal(m.register(0), 10_000n * step);
    }
    // Both times, for what was compiled had code of the page that changed.
    assert.ok(m.jit.compiled >= 2);
  });

  test('a return to where nothing was called from leaves', () => {
    // mov ecx,1000; L: call F; inc rax (skipped); dec ecx; jnz L; hlt; F: add qword [rsp],3; ret
    const code = 'b9e8030000 e808000000 48ffc0 ffc9 75f4 f4 4883042403 c3';
    const [m, interpreted] = [machine(code), createTestMachine(code)];
    for (const each of [m, interpreted]) {
      each.setRegister(0, 0n);
      assert.equal(runToEnd(each).reason, 'halt');
    }
    assert.deepEqual([m.register(0), m.register(1), m.jit.compiled > 0], [0n, 0n, true]);
    assert.equal(m.cpu.instructions, interpreted.cpu.instructions);
  });

  test('the jump of a switch goes to each of its cases', () => {
    // mov ecx,3000; L: mov edx,ecx; and edx,1; lea rdx,[rip+A+8*rdx]: as lea rsi,[rip+A]; lea rsi,[rsi+8*rdx]; jmp rsi
    // A: add rax,1; jmp N (padded to 8); B: add rbx,1; jmp N; N: dec ecx; jnz L; hlt
    const code =
      'b9b80b0000 89ca 83e201 488d3506000000 488d34d6 ffe6 4883c001 eb0a 9090 4883c301 eb02 9090 ffc9 75da f4';
    const m = machine(code);
    for (const register of [0, 3]) m.setRegister(register, 0n);
    assert.equal(runToEnd(m).reason, 'halt');
    assert.deepEqual([m.register(0), m.register(3), m.jit.compiled > 0], [1500n, 1500n, true]);
  });

  test('XMM registers are the same after loops of numbers, parts of vectors, stores and what leaves in between', () => {
    /*
     * mov ecx,500; L: cvtsi2sd xmm0,ecx; addsd xmm1,xmm0; mulsd xmm0,xmm1; movsd [rsp-16],xmm0; movups xmm2,[rsp-20]; paddd xmm3,xmm2;
     * movq rax,xmm3; pinsrw xmm4,eax,3; movhlps xmm5,xmm3; unpcklpd xmm6,xmm1; comisd xmm1,xmm0; jb N; movaps xmm7,xmm2;
     * N: sqrtsd xmm6,xmm1; dec ecx; jnz L; hlt
     */
    const code =
      'b9f4010000 f20f2ac1 f20f58c8 f20f59c1 f20f114424f0 0f105424ec 660ffeda 66480f7ed8 660fc4e003 0f12eb 660f14f1 660f2fc8 7203 0f28fa f20f51f1 ffc9 75c3 f4';
    const [m, interpreted] = [machine(code), createTestMachine(code)];
    for (const { cpu } of [m, interpreted]) {
      cpu.system.cr4 |= 0x200;
      cpu.words[STATE.MXCSR >> 2] = 0x1fa0;
    }
    for (const each of [m, interpreted]) assert.equal(runToEnd(each).reason, 'halt');
    const state = ({ cpu }: TestMachine): Uint8Array => cpu.bytes.slice(STATE.XMM, STATE.XMM_TEMP);
    assert.deepEqual(state(m), state(interpreted));
    assert.ok(state(m).some((byte) => byte !== 0));
    assert.deepEqual([m.register(0), m.cpu.instructions], [interpreted.register(0), interpreted.cpu.instructions]);
    assert.ok(m.jit.compiled > 0);
  });

  test('compiles each block as soon as it is decoded where it is told so', () => {
    const m = machine(LOOP, { threshold: 0 });
    assert.equal(runToEnd(m).reason, 'halt');
    assert.equal(m.register(0), LOOP_SUM);
    assert.equal(m.jit.compiled, 2);
  });

  test('gives all regions up when there are as many as there may be', () => {
    const m = machine(LOOP, { regionsMax: 1 });
    runToEnd(m);
    assert.equal(m.jit.compiled, 1);
    // The same loop elsewhere.
    m.cpu.mmu.writeRam(CODE_START + 0x1000, m.ram.slice(CODE_START, CODE_START + 0x40));
    restart(m);
    m.cpu.setRip(CODE_START + 0x1000, 0);
    assert.equal(runToEnd(m).reason, 'halt');
    assert.equal(m.jit.compiled, 2);
    restart(m);
    assert.equal(runToEnd(m).reason, 'halt');
    assert.equal(m.register(0), LOOP_SUM);
    assert.equal(m.jit.compiled, 3);
  });
});

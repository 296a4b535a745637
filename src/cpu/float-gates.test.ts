/** Who may use x87, MMX and SSE, and what tells that one may not (SDM vol. 3 §2.5, tables 2-2 and 13-1). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { STATE } from './layout.ts';
import { CR0, CR4, VECTOR } from './system-state.ts';
import { SystemMachine } from './testing-system.ts';

const { UD, NM, MF, XM, GP } = VECTOR;
const SSE_ON = CR4.OSFXSR | CR4.OSXMMEXCPT;

/** The vector that the code ends in, null when it runs to its HLT. */
function vectorOf(code: string, { cr0 = 0, cr4 = SSE_ON }: { cr0?: number; cr4?: number } = {}): number | null {
  const system = new SystemMachine(`${code} f4`);
  system.machine.cpu.system.cr0 |= cr0;
  system.machine.cpu.system.cr4 |= cr4;
  return system.run()?.vector ?? null;
}

/** One of each kind: packed float, packed integer, a move, a store, and forms that only touch MXCSR. */
const SSE = {
  ADDPS: '0f58c1',
  PADDB: '660ffcc1',
  'MOVDQU from memory': 'f30f6f0424',
  'MOVAPS between registers': '0f28c1',
  PCMPISTRI: '660f3a63c100',
  LDMXCSR: 'c7042480 1f0000 0fae1424',
  STMXCSR: '0fae1c24',
  CVTSI2SD: 'f20f2ac0',
};
const MMX = { 'PADDB mm': '0ffcc1', 'MOVD mm': '0f6ec0', EMMS: '0f77' };
const X87 = { FLD1: 'd9e8', 'FADD from memory': 'd80424', FNINIT: 'dbe3', FNSTSW: 'dfe0' };

describe('SSE', () => {
  for (const [name, code] of Object.entries(SSE)) {
    test(`${name} runs only with CR4.OSFXSR, without CR0.EM and CR0.TS`, () => {
      assert.equal(vectorOf(code), null);
      assert.equal(vectorOf(code, { cr4: 0 }), UD);
      assert.equal(vectorOf(code, { cr0: CR0.EM }), UD);
      assert.equal(vectorOf(code, { cr0: CR0.TS }), NM);
      assert.equal(vectorOf(code, { cr0: CR0.EM | CR0.TS }), UD);
    });
  }

  test('an unmasked exception is #XM, without CR4.OSXMMEXCPT #UD, and leaves the result alone', () => {
    // mov dword [rsp],1d00h (ZE unmasked); ldmxcsr [rsp]; xorps xmm1,xmm1; cvtsi2ss xmm0,esp; divss xmm0,xmm1
    const divide = 'c70424 801d0000 0fae1424 0f57c9 f30f2ac4 f30f5ec1';
    assert.equal(vectorOf(divide), XM);
    assert.equal(vectorOf(divide, { cr4: CR4.OSFXSR }), UD);
    const system = new SystemMachine(`${divide} f4`);
    system.machine.cpu.system.cr4 |= SSE_ON;
    system.run();
    const result = new DataView(system.machine.cpu.bytes.buffer).getFloat32(STATE.XMM, true);
    assert.equal(result, Number(system.machine.register(4) + 40n), 'the dividend is still there');
    assert.equal((system.machine.cpu.words[STATE.MXCSR >> 2] ?? 0) & 4, 4, 'the flag says which');
  });

  test('a reserved bit of MXCSR is #GP', () => {
    assert.equal(vectorOf('c70424 801f0100 0fae1424'), GP);
  });

  test('what was checked once is checked again after CR0 has changed', () => {
    // addps; mov rax,cr0; or eax,8; mov cr0,rax; addps
    assert.equal(vectorOf('0f58c1 0f20c0 83c808 0f22c0 0f58c1'), NM);
    // addps; clts twice over: mov cr0 with TS, clts, addps
    assert.equal(vectorOf('0f58c1 0f20c0 83c808 0f22c0 0f06 0f58c1'), null);
  });
});

describe('MMX and x87', () => {
  for (const [name, code] of Object.entries(MMX)) {
    test(`${name} is #UD with CR0.EM and #NM with CR0.TS, whatever CR4 says`, () => {
      assert.equal(vectorOf(code, { cr4: 0 }), null);
      assert.equal(vectorOf(code, { cr0: CR0.EM }), UD);
      assert.equal(vectorOf(code, { cr0: CR0.TS }), NM);
    });
  }
  for (const [name, code] of Object.entries(X87)) {
    test(`${name} is #NM with CR0.EM and with CR0.TS`, () => {
      assert.equal(vectorOf(code, { cr4: 0 }), null);
      assert.equal(vectorOf(code, { cr0: CR0.EM }), NM);
      assert.equal(vectorOf(code, { cr0: CR0.TS }), NM);
    });
  }

  test('FWAIT is #NM only with CR0.MP and CR0.TS', () => {
    assert.equal(vectorOf('9b', { cr0: CR0.TS }), null);
    assert.equal(vectorOf('9b', { cr0: CR0.EM }), null);
    assert.equal(vectorOf('9b', { cr0: CR0.TS | CR0.MP }), NM);
  });

  test('a pending x87 exception is #MF at the next instruction that waits', () => {
    // mov word [rsp],37bh (ZE unmasked); fldcw [rsp]; fld1; fldz; fdivp; then one of them
    const pending = '66c704247b03 d92c24 d9e8 d9ee def9';
    assert.equal(vectorOf(`${pending} d9e8`, { cr0: CR0.NE }), MF);
    assert.equal(vectorOf(`${pending} 9b`, { cr0: CR0.NE }), MF);
    assert.equal(vectorOf(`${pending} 0ffcc1`, { cr0: CR0.NE }), MF, 'MMX waits as well');
    assert.equal(vectorOf(`${pending} dfe0 dbe2`, { cr0: CR0.NE }), null, 'FNSTSW and FNCLEX do not wait');
  });
});

describe('state images', () => {
  test('FXSAVE and FXRSTOR are #NM with CR0.EM or CR0.TS, and need 16 bytes of alignment', () => {
    for (const code of ['0fae0424', '0fae0c24']) {
      assert.equal(vectorOf(code), null);
      assert.equal(vectorOf(code, { cr0: CR0.EM }), NM);
      assert.equal(vectorOf(code, { cr0: CR0.TS }), NM);
      assert.equal(vectorOf(`4883ec08 ${code}`), GP);
    }
  });

  test('XSAVE and XGETBV need CR4.OSXSAVE', () => {
    for (const code of ['31d2 31c0 0fae2424', '31c9 0f01d0']) {
      assert.equal(vectorOf(code), UD);
      assert.equal(vectorOf(code, { cr4: SSE_ON | CR4.OSXSAVE }), null);
    }
  });

  test('XSETBV takes x87 always, SSE if wanted, and nothing else', () => {
    const set = (value: string): string => `31c9 31d2 b8${value} 0f01d1`;
    const cr4 = SSE_ON | CR4.OSXSAVE;
    assert.equal(vectorOf(set('01000000'), { cr4 }), null);
    assert.equal(vectorOf(set('03000000'), { cr4 }), null);
    for (const value of ['00000000', '02000000', '07000000']) assert.equal(vectorOf(set(value), { cr4 }), GP);
  });
});

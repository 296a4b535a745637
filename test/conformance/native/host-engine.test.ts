import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  ARITHMETIC_FLAGS,
  type CaseResult,
  CODE_BASE,
  CODE_SIZE,
  CONST_BASE,
  CONST_SIZE,
  DATA_BASE,
  FLAG,
  FX,
  initialState,
  type TestCase,
  type UserState,
  VECTOR,
} from '../case.ts';
import { HostEngine } from './host-engine.ts';

const host = new HostEngine();
after(() => host.close());

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RSI = 6;
const RDI = 7;

function testCase(code: readonly number[], prepare: (state: UserState) => void = () => {}): TestCase {
  const state = initialState();
  prepare(state);
  return {
    name: 'known answer',
    mnemonic: '',
    bits: 64,
    code: Uint8Array.from(code),
    state,
    patches: [],
    details: null,
  };
}

async function run(code: readonly number[], prepare?: (state: UserState) => void): Promise<CaseResult> {
  const [result] = await host.run([testCase(code, prepare)]);
  assert(result);
  assert.equal(result.failure, null);
  return result;
}

const flags = (result: CaseResult): number => Number(result.state.control[1]) & ARITHMETIC_FLAGS;

test('add sets result, carry and zero', async () => {
  const result = await run([0x01, 0xc8], ({ gpr }) => {
    gpr[RAX] = 0xffff_ffffn;
    gpr[RCX] = 1n;
  });
  assert.equal(result.exception, null);
  assert.equal(result.state.gpr[RAX], 0n);
  assert.equal(result.state.control[0], BigInt(CODE_BASE + 2));
  assert.equal(flags(result), FLAG.CF | FLAG.ZF | FLAG.PF | FLAG.AF);
});

test('every general register, vector register and flag passes through a NOP', async () => {
  const prepare = ({ gpr, control, fx }: UserState): void => {
    for (let i = 0; i < 16; i++) if (i !== RSP) gpr[i] = 0x1111_1111_1111_1111n * BigInt(i) + 5n;
    for (let i = 0; i < 32; i++) fx.setBigUint64(FX.XMM + 8 * i, 0x0123_4567_89ab_cdefn ^ BigInt(i), true);
    for (let i = 0; i < 8; i++) fx.setBigUint64(FX.ST + 16 * i, 0x8123_4567_89ab_cdefn ^ BigInt(i), true);
    fx.setUint8(FX.FTW, 0xff);
    fx.setUint16(FX.FSW, 0x1800, true);
    fx.setUint32(FX.MXCSR, 0x7fbf, true);
    control[1] = BigInt(0x202 | ARITHMETIC_FLAGS | FLAG.DF);
  };
  const result = await run([0x90], prepare);
  const expected = testCase([0x90], prepare).state;
  assert.deepEqual(result.state.gpr, expected.gpr);
  assert.equal(Number(result.state.control[1]) & ~0x10000, Number(expected.control[1]));
  for (const at of [FX.FCW, FX.FSW, FX.FTW]) assert.equal(result.state.fx.getUint16(at), expected.fx.getUint16(at));
  assert.equal(result.state.fx.getUint32(FX.MXCSR), expected.fx.getUint32(FX.MXCSR));
  const registers = (state: UserState): Uint8Array => state.bytes.subarray(192 + FX.ST, 192 + FX.XMM + 256);
  assert.deepEqual(registers(result.state), registers(expected));
});

test('imul overflows into carry and overflow', async () => {
  const result = await run([0x48, 0x0f, 0xaf, 0xc1], ({ gpr }) => {
    gpr[RAX] = 2n ** 63n - 1n;
    gpr[RCX] = 3n;
  });
  assert.equal(result.state.gpr[RAX], BigInt.asUintN(64, (2n ** 63n - 1n) * 3n));
  assert.equal(flags(result) & (FLAG.CF | FLAG.OF), FLAG.CF | FLAG.OF);
});

test('a division by zero raises #DE at the instruction', async () => {
  const result = await run([0xf7, 0xf1], ({ gpr }) => {
    gpr[RCX] = 0n;
  });
  assert.deepEqual(result.exception, { vector: VECTOR.DE, errorCode: 0, address: 0n });
  assert.equal(result.state.control[0], BigInt(CODE_BASE));
});

test('a load below the data raises #PF with its address', async () => {
  const address = BigInt(DATA_BASE - 8);
  const result = await run([0x8b, 0x03], ({ gpr }) => {
    gpr[RBX] = address;
  });
  assert.deepEqual(result.exception, { vector: VECTOR.PF, errorCode: 4, address });
});

test('a store to the constant page raises #PF for a write to a present page', async () => {
  const address = BigInt(CONST_BASE + 16);
  const result = await run([0x89, 0x03], ({ gpr }) => {
    gpr[RBX] = address;
  });
  assert.deepEqual(result.exception, { vector: VECTOR.PF, errorCode: 7, address });
});

test('a load across the end raises #PF with the address of the page that is missing', async () => {
  const result = await run([0x48, 0x8b, 0x03], ({ gpr }) => {
    gpr[RBX] = BigInt(CONST_BASE + CONST_SIZE - 3);
  });
  assert.deepEqual(result.exception, { vector: VECTOR.PF, errorCode: 4, address: BigInt(CONST_BASE + CONST_SIZE) });
});

test('a store into the code raises #PF', async () => {
  const result = await run([0x88, 0x03], ({ gpr }) => {
    gpr[RBX] = BigInt(CODE_BASE + 100);
  });
  assert.deepEqual(result.exception, { vector: VECTOR.PF, errorCode: 7, address: BigInt(CODE_BASE + 100) });
});

test('ud2 raises #UD, int3 traps behind itself, hlt raises #GP', async () => {
  assert.equal((await run([0x0f, 0x0b])).exception?.vector, VECTOR.UD);
  const trap = await run([0xcc]);
  assert.equal(trap.exception?.vector, VECTOR.BP);
  assert.equal(trap.state.control[0], BigInt(CODE_BASE + 1));
  assert.deepEqual((await run([0xf4])).exception, { vector: VECTOR.GP, errorCode: 0, address: 0n });
});

test('an unaligned movaps raises #GP', async () => {
  const result = await run([0x0f, 0x28, 0x03], ({ gpr }) => {
    gpr[RBX] = BigInt(DATA_BASE + 8);
  });
  assert.equal(result.exception?.vector, VECTOR.GP);
});

test('a non-canonical address raises #GP, through the stack #SS', async () => {
  const wild = 2n ** 62n;
  const load = await run([0x8b, 0x03], ({ gpr }) => {
    gpr[RBX] = wild;
  });
  assert.equal(load.exception?.vector, VECTOR.GP);
  const push = await run([0x50], ({ gpr }) => {
    gpr[RSP] = wild;
  });
  assert.equal(push.exception?.vector, VECTOR.SS);
});

test('an unmasked division by zero raises #XM', async () => {
  const result = await run([0xf2, 0x0f, 0x5e, 0xc1], ({ fx }) => {
    fx.setFloat64(FX.XMM, 1, true);
    fx.setUint32(FX.MXCSR, 0x1d80, true);
  });
  assert.equal(result.exception?.vector, VECTOR.XM);
  assert.equal(result.state.fx.getUint32(FX.MXCSR, true), 0x1d84);
});

test('an unmasked x87 exception raises #MF at the next x87 instruction', async () => {
  const result = await run([0xd9, 0xe8], ({ fx }) => {
    fx.setUint16(FX.FCW, 0x037b, true);
    fx.setUint16(FX.FSW, 0x8084, true);
  });
  assert.equal(result.exception?.vector, VECTOR.MF);
});

test('a taken jump ends at its target, an indirect one into data too', async () => {
  const near = await run([0xeb, 0x30]);
  assert.equal(near.exception, null);
  assert.equal(near.state.control[0], BigInt(CODE_BASE + 0x32));
  const far = await run([0xff, 0xe3], ({ gpr }) => {
    gpr[RBX] = BigInt(DATA_BASE + 64);
  });
  assert.equal(far.exception, null);
  assert.equal(far.state.control[0], BigInt(DATA_BASE + 64));
});

test('an instruction cut off by the end of the code raises #PF for the fetch', async () => {
  const result = await run([0xb8, 1, 2, 3, 4], ({ control }) => {
    control[0] = BigInt(CODE_BASE + CODE_SIZE - 3);
  });
  assert.deepEqual(result.exception, { vector: VECTOR.PF, errorCode: 0x14, address: BigInt(CODE_BASE + CODE_SIZE) });
});

test('a repeated store reports what changed and stops at the first address that faults', async () => {
  const store = testCase([0xf3, 0xaa], ({ gpr }) => {
    gpr[RAX] = 0x5an;
    gpr[RCX] = 8n;
    gpr[RDI] = BigInt(DATA_BASE + 0x100);
  });
  const [result] = await host.run([{ ...store, patches: [{ offset: 0x100, bytes: new Uint8Array(8) }] }]);
  assert.equal(result?.state.gpr[RDI], BigInt(DATA_BASE + 0x108));
  assert.deepEqual(result?.changes, [{ offset: 0x100, bytes: new Uint8Array(8).fill(0x5a) }]);
  const faulting = await run([0xf3, 0xa4], ({ gpr, control }) => {
    gpr[RCX] = 100n;
    gpr[RDI] = BigInt(DATA_BASE + 4);
    gpr[RSI] = BigInt(DATA_BASE + 0x200);
    control[1] = BigInt(0x202 | FLAG.DF);
  });
  assert.equal(faulting.exception?.address, BigInt(DATA_BASE - 1));
  assert.equal(faulting.state.gpr[RCX], 95n);
});

test('flags that user mode should not keep do not disturb the next case', async () => {
  const popf = testCase([0x9d], ({ gpr }) => {
    gpr[RSP] = BigInt(DATA_BASE);
  });
  const all = { ...popf, patches: [{ offset: 0, bytes: Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0) }] };
  const [first, second] = await host.run([all, testCase([0x0f, 0x0b])]);
  assert.equal(first?.exception, null);
  assert.equal(second?.exception?.vector, VECTOR.UD);
  assert.equal(Number(second?.state.control[1]) & ~0x10000, 0x202);
  assert.equal(Number(first?.state.gpr[RDX]), 0);
});

test('a case that ends the process is named by its failure, and the ones around it still run', async () => {
  // exit_group(7) by SYSCALL: no case of the generator does this.
  const exit = testCase([0x0f, 0x05], ({ gpr }) => {
    gpr[RAX] = 231n;
    gpr[RDI] = 7n;
  });
  const results = await host.run([testCase([0x90]), exit, testCase([0x0f, 0x0b])]);
  assert.deepEqual(
    results.map(({ failure }) => failure !== null),
    [false, true, false],
  );
  assert.match(results[1]?.failure ?? '', /exit code 7/);
  assert.equal(results[2]?.exception?.vector, VECTOR.UD);
});

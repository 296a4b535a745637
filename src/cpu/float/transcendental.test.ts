import assert from 'node:assert/strict';
import { test } from 'node:test';
import { X87, X87_LAYOUT, X87State } from './x87.ts';

/** Second opcode byte after D9, by function. */
const CODES: Readonly<Record<string, number>> = {
  sin: 0xfe,
  cos: 0xff,
  tan: 0xf2,
  atan: 0xf3,
  exp: 0xf0,
  log: 0xf1,
  log1p: 0xf9,
};

/**
 * Function, ST(0), ST(1), and the result rounded to nearest, computed with 400 bits by an independent arbitrary-precision library
 * (angles reduced by the 66-bit π).
 */
const ROUNDED: readonly string[] = [
  'sin 3febce875100facf78c5 c009d8f3ea758269e5ca 3febce875100fa75dbef',
  'sin 4009d334ac70ff30047d bfecf826e864e3ffdf23 bffe8197b9d682d8df0e',
  'sin bfeece177057792cff0e c012c7b7e17fa57ef7b9 bfeece17705762ea1e2e',
  'sin c00e92c860dd73fa8201 c01199e23d7ac0927895 bffcd6d0b4926e2fef4e',
  'sin c01aed637c6ea1127a4d 400fae63fb6100733947 3ffcdea59d6a2b21eff0',
  'sin 3ff7b3d8ba3f98e5a0a2 bfffe6e9beff9089eff0 3ff7b3d87f12eb1c849f',
  'cos 3ffaf5be8850705ef099 3ffffd0025da40f55dc4 3ffeff8a15ef0cbf8c66',
  'cos c011f9c1302096b48420 3fffcc6e1065c2c3eb94 bffe9e587b2bc477e9e8',
  'cos c017e456f7af454638c7 3ffc89ee4ef85823ed97 bffcb7eb9f6c46a10818',
  'cos 400884ce681e98e912c4 4006f8717efb8d5287e8 bffef4deec348e2dfc1c',
  'cos 4018928d84eed489ead7 bff0b929bc3bed4b3fca 3ffeff4eb0345cfcca53',
  'cos c0038ed6b94cf4a90906 3ff188a4ee8b9dac8cba 3ffe8b7476dc1e8cd3b2',
  'tan 3ff3e994660e7c95f74a 3ffff4446eaebb0dd595 3ff3e9946711c380e756',
  'tan 401797cf3a984871d6a8 3ff7b0fd4161aa958119 c000f516772e69ec8a52',
  'tan 401bf88f980c301edc36 bffc9d206bed330443d2 bffca5ba1c891cbb45b2',
  'tan 4010a36ff036d9657369 3ffaa9b802dbf2dbe9c9 3fff8bd210ea9dcd1617',
  'tan c014c664f2b95c747aec bffac8b55dadc5d00d52 3ffc90a29aad6302afb3',
  'tan 3ffcb737d0ac2e919897 400592c21127b1b8f755 3ffcb932d4bb5b950413',
  'atan bffbdf8615a94d50819e 4004db807f5c4914a715 3fffc95106cea3b137cc',
  'atan bff6a164e85886a9b82b c010c64a9deb2624fb98 bfffc90fdabc2d12ea08',
  'atan 4003992b6f464e365f1c bfeff06a9f5145b65884 bfebc8e8f2f3b18e08ae',
  'atan 3fe6c5c3f4fe6dfba979 40118a0378e45d96a634 3fffc90fdaa22151d4e0',
  'atan bfee808848730433cb4b bffa993c057c530f4c07 bfffc916907c798835ea',
  'atan 3fe5a568ecd2ff233910 bfeb94a4a0bc7744edde bfffc6d6288af4cfa406',
  'exp bffde7c8077cf2cfd8b6 c001bc31e670238b49e0 bffd89e4f2c9778f77fc',
  'exp 3ff2df6adc9dafd63b24 bff0fd5d6b27e40c078b 3ff29adf62836d1ac6fd',
  'exp 3ffca41c3e8979b5d87d 3ff384a28ebacbecba60 3ffbf09f704811fef5fa',
  'exp 3fcb80f087cd159fec56 4007cfcc868ebdef27a0 3fcab2bf8a276675100f',
  'exp bff0991d44d21540b182 bffcc797ca4df4b883e8 bfefd44243e8ec1f7011',
  'exp 3ff2cea6637a2e6b136f 3ff7acbbd0825b373559 3ff28f3fa56b274c39e5',
  'log 3fffcda6cfdea1410be8 c00fee31dafba993ef80 c00fa2f06c66cc6458e2',
  'log 3ffeb5b26b063c58a98b c008ba55b84740664710 4007b8537613fe032c2f',
  'log 3ffe8271de4a6842258b 4010fd9399e1a03a3009 c010f6a7b0cacd708cf8',
  'log 3ffe9b5f5a767f8e4dd3 c00cf0023d029f778e52 400cace7c787b1f197a0',
  'log 08cbcc832a8091af59d6 3ffdf926162039c9cc7b c00bd6e488379ce7ef10',
  'log 4a1de77166ec9e3d607e c00da8fe65c8de6d69e0 c018d5c9c641bd3db73a',
  'log1p 3fc8c7caf83439ad5d09 3ff8a62df71f63b6bcc7 3fc2bb1b9e9e7d4c6a80',
  'log1p bffcfd2533bd5055ee13 4007b67d4075cad583b5 c0069586b48b0c62c432',
  'log1p 3ffbb27c9623296ce67a 400adfdd2bf576975ccf 4007d7e6754a97be913b',
  'log1p bfe59fbcec74d60c4120 3ffc895f31070f00c828 bfe2f7538f81917a3c80',
  'log1p bfed8312be4e711a860e 3ffeb9699266d32d86c0 bfed88f54e7b56f9a647',
  'log1p bffab2b27392a835b3dd c001e36cea2ad8bc8619 3ffdea2cedfcd6efd5f2',
];

/** Pushes an 80-bit value given as hexadecimal digits. */
function pushHex(unit: X87, hex: string): void {
  const { memoryWords } = unit.state;
  memoryWords[2] = Number.parseInt(hex.slice(0, 4), 16);
  memoryWords[1] = Number.parseInt(hex.slice(4, 12), 16) | 0;
  memoryWords[0] = Number.parseInt(hex.slice(12), 16) | 0;
  unit.execute(0xdb, 0x2f);
}

function popHex(unit: X87): string {
  unit.execute(0xdb, 0x3f);
  return Buffer.from(unit.state.memory.subarray(0, 10)).reverse().toString('hex');
}

test('transcendental functions are the exact values rounded to 64 bits', () => {
  const unit = new X87(new X87State(new ArrayBuffer(X87_LAYOUT.SIZE_BYTES), 0));
  for (const line of ROUNDED) {
    const [name, st0, st1, expected] = line.split(' ') as [string, string, string, string];
    unit.execute(0xdb, 0xe3);
    pushHex(unit, st1);
    pushHex(unit, st0);
    unit.execute(0xd9, CODES[name]!);
    if (name === 'tan') assert.equal(popHex(unit), '3fff8000000000000000');
    assert.equal(popHex(unit), expected, line);
  }
});

test('an angle of 2^63 or more sets C2 and stays', () => {
  const unit = new X87(new X87State(new ArrayBuffer(X87_LAYOUT.SIZE_BYTES), 0));
  for (const code of [0xfe, 0xff, 0xfb, 0xf2]) {
    unit.execute(0xdb, 0xe3);
    pushHex(unit, '403e8000000000000000');
    unit.execute(0xd9, code);
    unit.execute(0xdf, 0xe0);
    assert.equal(unit.state.ax & 0x400, 0x400);
    assert.equal(popHex(unit), '403e8000000000000000');
  }
});

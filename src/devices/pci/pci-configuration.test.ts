import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { PciBar } from './pci-bar.ts';
import { type PciCapability, PciConfiguration, type PciConfigurationOptions } from './pci-configuration.ts';
import { bytesOf } from './testing.ts';

const OPTIONS: PciConfigurationOptions = {
  vendorId: 0x1af4,
  deviceId: 0x1042,
  revision: 1,
  class: { base: 1, sub: 0x80, interface: 2 },
  subsystemVendorId: 0x1af5,
  subsystemId: 0x1100,
};

function create(options: Partial<PciConfigurationOptions> = {}, words = new Uint32Array(PciConfiguration.WORDS)) {
  return new PciConfiguration(words, { ...OPTIONS, ...options });
}

const write32 = (configuration: PciConfiguration, register: number, value: number): void =>
  configuration.writeRegister(register, 0, bytesOf(value, 4));

const BARS: readonly PciBar[] = [
  { index: 0, kind: 'memory64', sizeBytes: 0x4000 },
  { index: 2, kind: 'memory32', sizeBytes: 0x10, prefetchable: true },
  { index: 3, kind: 'io', sizeBytes: 0x100 },
];

describe('the header', () => {
  test('says what the options say', () => {
    const configuration = create({ multiFunction: true });
    assert.deepEqual(
      [0, 1, 2, 3, 11, 13].map((register) => configuration.readRegister(register)),
      [0x1042_1af4, 0, 0x0180_0201, 0x0080_0000, 0x1100_1af5, 0],
    );
  });

  test('has no registers after its end', () => {
    const configuration = create();
    for (const register of [64, 1023, 1024, 2 ** 31, -1]) {
      write32(configuration, register, 0);
      assert.equal(configuration.readRegister(register), 0xffff_ffff);
    }
    const extended = create({}, new Uint32Array(PciConfiguration.EXTENDED_WORDS));
    assert.deepEqual(
      [64, 1023, 1024].map((register) => extended.readRegister(register)),
      [0, 0, 0xffff_ffff],
    );
  });

  test('keeps the words of another object', () => {
    const words = new Uint32Array(PciConfiguration.WORDS);
    const first = create({ bars: BARS }, words);
    first.setBarAddress(2, 0xd000_0010);
    first.setInterrupt(1, 16);
    write32(first, 1, 0x6);
    const second = create({ bars: BARS }, words);
    assert.equal(second.barAddress(2), 0xd000_0010);
    assert.equal(second.command, 6);
    assert.equal(second.readRegister(15), 0x0110);
  });
});

describe('writes', () => {
  test('reach only the bits that software may change', () => {
    const configuration = create({ bars: BARS });
    const before = Array.from({ length: 64 }, (_, register) => configuration.readRegister(register));
    for (let register = 0; register < 64; register++) write32(configuration, register, 0xffff_ffff);
    const changed = before.flatMap((value, register) => {
      const bits = (configuration.readRegister(register) ^ value) >>> 0;
      return bits === 0 ? [] : [[register, bits.toString(16)]];
    });
    assert.deepEqual(changed, [
      [1, '407'],
      [3, 'ffff'],
      [4, 'ffffc000'],
      [5, 'ffffffff'],
      [6, 'fffffff0'],
      [7, 'ffffff00'],
      [15, 'ff'],
    ]);
  });

  test('the command has the spaces that there are', () => {
    const ports = create({ bars: [{ index: 0, kind: 'io', sizeBytes: 4 }] });
    write32(ports, 1, 0xffff_ffff);
    assert.equal(ports.command, 0x405);
    const nothing = create();
    write32(nothing, 1, 0xffff_ffff);
    assert.equal(nothing.command, 0x404);
  });

  test('errors in the status are cleared by 1 and not by 0, and by nothing but their own byte', () => {
    const words = new Uint32Array(PciConfiguration.WORDS);
    const configuration = create({}, words);
    words[1] = 0xf900_0000;
    configuration.writeRegister(1, 0, bytesOf(0xffff, 2));
    assert.equal(configuration.readRegister(1) >>> 16, 0xf900);
    configuration.writeRegister(1, 3, Uint8Array.of(0x80));
    assert.equal(configuration.readRegister(1) >>> 16, 0x7900);
    configuration.writeRegister(1, 2, bytesOf(0xffff, 2));
    assert.equal(configuration.readRegister(1) >>> 16, 0);
  });

  test('any bytes at any offset change exactly the writable bits of those bytes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 63 }),
        fc.integer({ min: 0, max: 5 }),
        fc.uint8Array({ maxLength: 8 }),
        (register, offset, data) => {
          const reference = create({ bars: BARS });
          write32(reference, register, 0xffff_ffff);
          const writable = bytesOf(
            (reference.readRegister(register) ^ create({ bars: BARS }).readRegister(register)) >>> 0,
            4,
          );
          const configuration = create({ bars: BARS });
          const expected = bytesOf(configuration.readRegister(register), 4);
          data.forEach((byte, i) => {
            const at = offset + i;
            if (at < 4) expected[at] = (expected[at]! & ~writable[at]!) | (byte & writable[at]!);
          });
          configuration.writeRegister(register, offset, data);
          assert.deepEqual(bytesOf(configuration.readRegister(register), 4), expected);
        },
      ),
    );
  });
});

describe('BARs', () => {
  test('tell their size and kind when all ones are written, and take an address', () => {
    const configuration = create({ bars: BARS });
    for (const register of [4, 5, 6, 7, 8, 9, 12]) write32(configuration, register, 0xffff_ffff);
    assert.deepEqual(
      [4, 5, 6, 7, 8, 9, 12].map((register) => configuration.readRegister(register)),
      [0xffff_c004, 0xffff_ffff, 0xffff_fff8, 0xffff_ff01, 0, 0, 0],
    );
    write32(configuration, 4, 0x1234_5678);
    write32(configuration, 5, 0x12);
    assert.equal(configuration.barAddress(0), 0x12_1234_4000);
    assert.equal(configuration.readRegister(4), 0x1234_4004);
  });

  test('every power of two is sized as a kernel sizes it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 52 }), (bits) => {
        const configuration = create({ bars: [{ index: 2, kind: 'memory64', sizeBytes: 2 ** bits }] });
        write32(configuration, 6, 0xffff_ffff);
        write32(configuration, 7, 0xffff_ffff);
        const read =
          (BigInt(configuration.readRegister(7)) << 32n) |
          (BigInt(configuration.readRegister(6) & ~0xf) & 0xffff_ffffn);
        assert.equal(BigInt.asUintN(64, ~read) + 1n, 2n ** BigInt(bits));
        configuration.setBarAddress(2, 2 ** 52 * (bits === 52 ? 1 : 0) + 2 ** bits);
        assert.equal(configuration.barAddress(2) % 2 ** bits, 0);
      }),
    );
  });

  test('what the specification does not allow is refused', () => {
    const bad: readonly (readonly PciBar[])[] = [
      [{ index: 0, kind: 'memory32', sizeBytes: 8 }],
      [{ index: 0, kind: 'memory32', sizeBytes: 2 ** 32 }],
      [{ index: 0, kind: 'memory32', sizeBytes: 0x1800 }],
      [{ index: 0, kind: 'io', sizeBytes: 512 }],
      [{ index: 0, kind: 'io', sizeBytes: 2 }],
      [{ index: 0, kind: 'io', sizeBytes: 8, prefetchable: true }],
      [{ index: 6, kind: 'io', sizeBytes: 8 }],
      [{ index: 5, kind: 'memory64', sizeBytes: 0x1000 }],
      [
        { index: 0, kind: 'memory64', sizeBytes: 0x1000 },
        { index: 1, kind: 'memory32', sizeBytes: 0x1000 },
      ],
    ];
    for (const bars of bad) assert.throws(() => create({ bars }), { name: 'AssertionError' });
    const configuration = create({ bars: BARS });
    assert.throws(() => configuration.setBarAddress(0, 0x1000), { name: 'AssertionError' });
    assert.throws(() => configuration.setBarAddress(1, 0), { name: 'AssertionError' });
  });
});

describe('the capabilities list', () => {
  const capability = (id: number, sizeBytes: number): PciCapability => ({ id, body: new Uint8Array(sizeBytes - 2) });

  /** Follows the list as a kernel does. */
  function list(configuration: PciConfiguration): number[][] {
    const byteAt = (at: number): number => (configuration.readRegister(at >>> 2) >>> (8 * (at & 3))) & 0xff;
    const found: number[][] = [];
    for (let at = byteAt(0x34); at !== 0 && found.length < 48; at = byteAt(at + 1)) found.push([at, byteAt(at)]);
    return found;
  }

  test('leads from one to the next at multiples of 4, and the status says that there is one', () => {
    const configuration = create({ capabilities: [capability(0x09, 5), capability(0x11, 12), capability(0x05, 4)] });
    assert.deepEqual(list(configuration), [
      [0x40, 0x09],
      [0x48, 0x11],
      [0x54, 0x05],
    ]);
    assert.deepEqual(configuration.capabilityOffsets, [0x40, 0x48, 0x54]);
    assert.equal(configuration.readRegister(1), 0x0010_0000);
  });

  test('is empty without any', () => {
    assert.deepEqual(list(create()), []);
    assert.equal(create().readRegister(1), 0);
  });

  test('fills the space to its last byte and no further', () => {
    assert.equal(create({ capabilities: [capability(9, 0xbc), capability(9, 4)] }).readRegister(63) >>> 24, 0);
    create({ capabilities: [capability(9, 0xc0)] });
    assert.throws(() => create({ capabilities: [capability(9, 0xc1)] }), { name: 'AssertionError' });
    assert.throws(() => create({ capabilities: [capability(9, 0xbd), capability(9, 3)] }), { name: 'AssertionError' });
    const extended = new Uint32Array(PciConfiguration.EXTENDED_WORDS);
    assert.throws(() => create({ capabilities: [capability(9, 0xc1)] }, extended), { name: 'AssertionError' });
  });

  test('takes writes where a capability allows them', () => {
    const writable = Uint8Array.of(0, 0xf0);
    const configuration = create({ capabilities: [{ id: 9, body: Uint8Array.of(1, 2, 3), writable }] });
    write32(configuration, 16, 0xffff_ffff);
    assert.equal(configuration.readRegister(16), 0xf201_0009);
  });
});

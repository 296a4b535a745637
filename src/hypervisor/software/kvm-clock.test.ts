import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ClockMemory, KvmClock } from './kvm-clock.ts';
import { ManualClock } from './testing.ts';

const WALL_CLOCK = 0x4b564d00;
const SYSTEM_TIME = 0x4b564d01;
const PAGE = 4096;

/** RAM of two pages at 0 and one at 0x10000, which keeps what is written, and the version after each write. */
class Ram implements ClockMemory {
  readonly bytes = new Uint8Array(0x10000 + PAGE);
  readonly view = new DataView(this.bytes.buffer);
  readonly versions: number[] = [];
  readonly writes: { address: number; sizeBytes: number }[] = [];

  contains(address: number, sizeBytes: number): boolean {
    const end = address + sizeBytes;
    return (address >= 0 && end <= 2 * PAGE) || (address >= 0x10000 && end <= 0x10000 + PAGE);
  }

  readU32(address: number): number {
    return this.view.getUint32(address, true);
  }

  write(address: number, data: Uint8Array): void {
    assert.ok(this.contains(address, data.length), 'a write to RAM');
    this.bytes.set(data, address);
    this.writes.push({ address, sizeBytes: data.length });
    this.versions.push(this.readU32(this.writes[0]?.address ?? 0));
  }

  hex(address: number, sizeBytes: number): string {
    return this.bytes.subarray(address, address + sizeBytes).toHex();
  }
}

function createClock() {
  const time = new ManualClock();
  const ram = new Ram();
  return { time, ram, clock: new KvmClock(time, ram) };
}

describe('system time', () => {
  test('is written when the register is: a version, the TSC, the time, the scale and that all processors agree', () => {
    const { time, ram, clock } = createClock();
    time.timeNs = 0x0001_2345_6789_abcd;
    ram.bytes.fill(0xee);
    ram.view.setUint32(0x1040, 6, true);
    assert.equal(clock.write(SYSTEM_TIME, 0x1041, 0), true);
    const expected = [
      '08000000', // version
      '00000000',
      'cdab896745230100', // tsc_timestamp
      'cdab896745230100', // system_time
      '00000080', // tsc_to_system_mul
      '01', // tsc_shift
      '01', // flags: TSC_STABLE
      '0000',
    ];
    assert.equal(ram.hex(0x1040, 32), expected.join(''));
    assert.equal(ram.hex(0x103c, 4) + ram.hex(0x1060, 4), 'eeeeeeeeeeeeeeee');
  });

  test('by its scale a nanosecond is a tick of the TSC', () => {
    const { ram, clock } = createClock();
    clock.write(SYSTEM_TIME, 0x1001, 0);
    const multiplier = BigInt(ram.view.getUint32(0x1018, true));
    const shift = BigInt(ram.view.getInt8(0x101c));
    assert.equal(((123_456_789_012n << shift) * multiplier) >> 32n, 123_456_789_012n);
    // Linux derives the TSC's frequency in kHz from them so.
    assert.equal(((1_000_000n << 32n) / multiplier) >> shift, 1_000_000n);
  });

  test('the version is odd from before the first field changes until after the last has', () => {
    const { ram, clock } = createClock();
    ram.view.setUint32(0x1000, 40, true);
    clock.write(SYSTEM_TIME, 0x1001, 0);
    assert.deepEqual(ram.versions, [41, 41, 42]);
    assert.deepEqual(ram.writes, [
      { address: 0x1000, sizeBytes: 4 },
      { address: 0x1000, sizeBytes: 32 },
      { address: 0x1000, sizeBytes: 4 },
    ]);
  });

  test('a version that the guest left odd, or at its end, becomes even', () => {
    const { ram, clock } = createClock();
    ram.view.setUint32(0x1000, 41, true);
    clock.write(SYSTEM_TIME, 0x1001, 0);
    assert.equal(ram.readU32(0x1000), 44);
    ram.view.setUint32(0x1000, 0xfffffffe, true);
    clock.write(SYSTEM_TIME, 0x1001, 0);
    assert.equal(ram.readU32(0x1000), 0);
    ram.view.setUint32(0x1000, 0xffffffff, true);
    clock.write(SYSTEM_TIME, 0x1001, 0);
    assert.equal(ram.readU32(0x1000), 2);
  });

  test('written again, it is newer', () => {
    const { time, ram, clock } = createClock();
    clock.write(SYSTEM_TIME, 0x1001, 0);
    time.pass(5_000_000_000);
    clock.write(SYSTEM_TIME, 0x1001, 0);
    assert.equal(ram.view.getBigUint64(0x1010, true), 5_000_000_000n);
    assert.equal(ram.readU32(0x1000), 4);
  });

  test('without the enable bit nothing is written, and the register holds its value', () => {
    const { ram, clock } = createClock();
    assert.equal(clock.write(SYSTEM_TIME, 0x1000, 0), true);
    assert.deepEqual(ram.writes, []);
    assert.deepEqual(clock.read(SYSTEM_TIME), [0x1000, 0]);
  });

  test('lies where the guest says, aligned or not, up to the last byte of a page', () => {
    for (const address of [0, 0x1002, 0x1fe0, 0x10fe0]) {
      const { ram, clock } = createClock();
      clock.write(SYSTEM_TIME, address | 1, 0);
      assert.equal(ram.readU32(address), 2, `at ${address}`);
    }
  });
});

describe('the wall clock', () => {
  test('is the time of day when system time was 0', () => {
    const { time, ram, clock } = createClock();
    time.wallClockMs = 1_700_000_001_250;
    time.timeNs = 3_000_000_007;
    ram.bytes.fill(0xee);
    ram.view.setUint32(0x1004, 0, true);
    assert.equal(clock.write(WALL_CLOCK, 0x1004, 0), true);
    // 1 699 999 998 s and 249 999 993 ns.
    assert.equal(ram.hex(0x1004, 12), '02000000fef0536579b2e60e');
    assert.equal(ram.hex(0x1000, 4) + ram.hex(0x1010, 4), 'eeeeeeeeeeeeeeee');
    assert.deepEqual(ram.versions, [1, 1, 2]);
  });

  test('may cross from one page into the next', () => {
    const { ram, clock } = createClock();
    clock.write(WALL_CLOCK, 0xffc, 0);
    assert.equal(ram.readU32(0xffc), 2);
    assert.equal(ram.readU32(0x1000), Date.UTC(2020, 0, 31, 23, 59, 58) / 1000);
  });

  test('at address 0 is none', () => {
    const { ram, clock } = createClock();
    assert.equal(clock.write(WALL_CLOCK, 0, 0), true);
    assert.deepEqual(ram.writes, []);
  });

  test('of a host whose clock stands before its start does not throw', () => {
    const { time, ram, clock } = createClock();
    time.wallClockMs = 0;
    time.timeNs = 1_500_000_000;
    clock.write(WALL_CLOCK, 0x1000, 0);
    assert.equal(ram.readU32(0x1000), 2);
  });
});

describe('hostile guests', () => {
  const halves = (address: bigint): [number, number] => [
    Number(BigInt.asIntN(32, address)),
    Number(BigInt.asIntN(32, address >> 32n)),
  ];

  for (const [what, register, address] of [
    ['system time outside RAM', SYSTEM_TIME, 0x8001n],
    ['system time across the end of a region', SYSTEM_TIME, 0x1fe5n],
    ['system time across two pages of RAM', SYSTEM_TIME, 0xfe3n],
    ['system time that begins before a region', SYSTEM_TIME, 0xfff1n],
    ['system time above 4 GiB', SYSTEM_TIME, 0x1_0000_1001n],
    ['system time at the end of the address space', SYSTEM_TIME, 0xffff_ffff_ffff_ffffn],
    ['a wall clock outside RAM', WALL_CLOCK, 0x2000n],
    ['a wall clock across the end of a region', WALL_CLOCK, 0x1ff8n],
    ['a wall clock that begins before a region', WALL_CLOCK, 0xfffcn],
    ['a wall clock across the end of RAM', WALL_CLOCK, 0x10ff5n],
    ['a wall clock at the end of the address space', WALL_CLOCK, 0xffff_ffff_ffff_fff8n],
  ] as const) {
    test(`${what} is taken and not written`, () => {
      const { ram, clock } = createClock();
      assert.equal(clock.write(register, ...halves(address)), true);
      assert.deepEqual(ram.writes, []);
      assert.deepEqual(clock.read(register), halves(address));
    });
  }

  test('no value of a register writes outside RAM or more than its structure', () => {
    const near = fc.constantFrom(0n, 0x1000n, 0x2000n, 0x10000n, 0x11000n, 1n << 32n, 1n << 52n, 1n << 64n);
    const address = fc.oneof(
      fc.tuple(near, fc.bigInt({ min: -40n, max: 40n })).map(([at, off]) => BigInt.asUintN(64, at + off)),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    );
    fc.assert(
      fc.property(fc.constantFrom(SYSTEM_TIME, WALL_CLOCK), address, (register, value) => {
        const { ram, clock } = createClock();
        assert.equal(clock.write(register, ...halves(value)), true);
        const start = register === SYSTEM_TIME ? value - (value & 1n) : value;
        const size = register === SYSTEM_TIME ? 32 : 12;
        for (const write of ram.writes) {
          assert.equal(BigInt(write.address), start);
          assert.ok(write.sizeBytes <= size);
        }
      }),
    );
  });
});

test("other registers are not the clock's", () => {
  const { clock } = createClock();
  for (const index of [0x11, 0x12, 0x4b564cff, 0x4b564d02]) {
    assert.equal(clock.write(index, 0x1001, 0), false);
    assert.equal(clock.read(index), null);
  }
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Bus, type BusAddressing, BusError } from './bus.ts';
import type { BusDevice } from './bus-device.ts';

interface Recorder extends BusDevice {
  readonly accesses: string[];
}

function recorder(name: string): Recorder {
  const accesses: string[] = [];
  return {
    name,
    accesses,
    read: (offset, data) => {
      accesses.push(`read ${offset} ${data.length}`);
      data.fill(0xab);
    },
    write: (offset, data) => void accesses.push(`write ${offset} ${[...data]}`),
  };
}

const code = (expected: string) => (error: unknown) => error instanceof BusError && error.code === expected;

describe('Bus', () => {
  test('a device sees offsets from its range, or addresses, as was chosen', () => {
    const bus = new Bus();
    const device = recorder('d');
    bus.insert(device, { start: 0x100, sizeBytes: 8 }, 'relative');
    bus.insert(device, { start: 0x200, sizeBytes: 8 }, 'absolute');
    bus.write(0x103, Uint8Array.of(1, 2));
    bus.read(0x207, new Uint8Array(1));
    assert.deepEqual(device.accesses, ['write 3 1,2', `read ${0x207} 1`]);
  });

  test('only the first address of an access chooses the device: the last may lie outside', () => {
    const bus = new Bus();
    const device = recorder('d');
    bus.insert(device, { start: 0x100, sizeBytes: 4 }, 'relative');
    assert.equal(bus.read(0x103, new Uint8Array(8)), true);
    assert.equal(bus.read(0xff, new Uint8Array(8)), false);
    assert.deepEqual(device.accesses, ['read 3 8']);
  });

  test('where nobody is, nothing happens and it is said', () => {
    const bus = new Bus();
    const data = Uint8Array.of(7);
    assert.equal(bus.read(0, data), false);
    assert.equal(bus.write(0, data), false);
    assert.deepEqual([...data], [7]);
  });

  test('an overlap is refused and names both devices', () => {
    const bus = new Bus();
    bus.insert(recorder('first'), { start: 0x100, sizeBytes: 0x10 }, 'relative');
    for (const start of [0xf1, 0x100, 0x10f]) {
      assert.throws(
        () => bus.insert(recorder('second'), { start, sizeBytes: 0x10 }, 'relative'),
        (error) => code('BUS_OVERLAP')(error) && /second.*first/.test(String(error)),
      );
    }
    bus.insert(recorder('before'), { start: 0xf0, sizeBytes: 0x10 }, 'relative');
    bus.insert(recorder('behind'), { start: 0x110, sizeBytes: 1 }, 'relative');
  });

  test('a range without addresses or beyond 2^53 is refused', () => {
    const bus = new Bus();
    const bad = [
      { start: 0, sizeBytes: 0 },
      { start: -1, sizeBytes: 2 },
      { start: 2 ** 53 - 1, sizeBytes: 2 },
      { start: 0.5, sizeBytes: 1 },
      { start: Number.NaN, sizeBytes: 1 },
    ];
    for (const range of bad) {
      assert.throws(() => bus.insert(recorder('d'), range, 'relative'), code('BUS_BAD_RANGE'));
    }
  });

  test('a clone has the same devices and its own future', () => {
    const bus = new Bus();
    const device = recorder('d');
    bus.insert(device, { start: 0, sizeBytes: 1 }, 'relative');
    const clone = bus.clone();
    clone.insert(recorder('e'), { start: 1, sizeBytes: 1 }, 'relative');
    assert.equal(bus.deviceAt(1), undefined);
    assert.equal(clone.deviceAt(0), device);
  });

  test('a removed device is gone from all of its ranges, also where it was found last', () => {
    const bus = new Bus();
    const device = recorder('d');
    bus.insert(device, { start: 0, sizeBytes: 4 }, 'relative');
    bus.insert(device, { start: 8, sizeBytes: 4 }, 'relative');
    assert.equal(bus.deviceAt(9), device);
    assert.equal(bus.remove(device), true);
    assert.deepEqual([bus.deviceAt(9), bus.deviceAt(0), bus.remove(device)], [undefined, undefined, false]);
  });

  test('finds what a search through a list finds', () => {
    const insertion = fc.record({
      start: fc.nat(300),
      sizeBytes: fc.integer({ min: 1, max: 30 }),
      addressing: fc.constantFrom<BusAddressing>('relative', 'absolute'),
    });
    fc.assert(
      fc.property(
        fc.array(insertion, { maxLength: 20 }),
        fc.array(fc.nat(350), { maxLength: 50 }),
        (ranges, addresses) => {
          const bus = new Bus();
          const model: { start: number; end: number; base: number; device: Recorder }[] = [];
          for (const { start, sizeBytes, addressing } of ranges) {
            const device = recorder(`${start}`);
            const overlaps = model.some((other) => start < other.end && other.start < start + sizeBytes);
            if (overlaps) {
              assert.throws(() => bus.insert(device, { start, sizeBytes }, addressing), code('BUS_OVERLAP'));
              continue;
            }
            bus.insert(device, { start, sizeBytes }, addressing);
            model.push({ start, end: start + sizeBytes, base: addressing === 'relative' ? start : 0, device });
          }
          for (const address of addresses) {
            const expected = model.find(({ start, end }) => address >= start && address < end);
            assert.equal(bus.deviceAt(address), expected?.device);
            bus.read(address, new Uint8Array(1));
            if (expected) assert.equal(expected.device.accesses.pop(), `read ${address - expected.base} 1`);
          }
        },
      ),
    );
  });
});

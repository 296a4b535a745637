import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SystemAllocator } from '#resources/system-allocator.ts';
import type { PlacedBar } from './pci-bar.ts';
import { PciConfigIo } from './pci-config-io.ts';
import { PciConfigMmio } from './pci-config-mmio.ts';
import type { PciBusDevice } from './pci-device.ts';
import { PciRoot } from './pci-root.ts';
import { bytesOf, functionOf, recordedInterrupts, TEST_VENDOR_DEVICE, TestPciDevice } from './testing.ts';

const HOST_BRIDGE = 0x1237_8086;
const LOW = { start: 0xd000_0000, sizeBytes: 0x2400_0000 };
const HIGH = { start: 2 ** 32, sizeBytes: 2 ** 36 };
const SLOT = 3;
const NUMBER = SLOT * 8;
const BAR = { MSIX: 2 ** 32, SCRATCH: 0xd000_0000, IO: 0xc000 };

interface Shared {
  readonly root: Int32Array;
  readonly device: Uint32Array;
  /** Placed by the first thread. */
  bars?: readonly PlacedBar[];
}

/** A bus with a test device in slot 3, as one thread has it. */
function create(
  shared: Shared = {
    root: new Int32Array(PciRoot.STATE_WORDS + 1),
    device: new Uint32Array(TestPciDevice.STATE_WORDS),
  },
) {
  const log: string[] = [];
  const root = new PciRoot(shared.root);
  const io = new PciConfigIo(shared.root.subarray(PciRoot.STATE_WORDS), root);
  const mmio = new PciConfigMmio(root);
  const device = new TestPciDevice(shared.device, {
    line: { set: (asserted) => void log.push(`line ${asserted ? 1 : 0}`) },
    interrupts: recordedInterrupts(log),
    ioevents: [{ bar: 0, offset: 0x1004, event: { fd: -1, write: () => void log.push('event') } }],
  });
  const allocator = new SystemAllocator({
    lowMmio: LOW,
    highMmio: HIGH,
    ioPorts: { start: 0xc000, sizeBytes: 0x4000 },
    gsis: { first: 24, count: 8 },
  });
  device.assignIrq(16, 1);
  shared.bars ??= device.allocateIoBars(allocator);
  root.addDevice(functionOf(device, SLOT, shared.bars));
  const read = (target: { read(at: number, data: Uint8Array): void }, at: number, sizeBytes = 4): number => {
    const data = new Uint8Array(8);
    target.read(at, data.subarray(0, sizeBytes));
    return Number(new DataView(data.buffer).getBigUint64(0, true));
  };
  const write = (
    target: { write(at: number, data: Uint8Array): void },
    at: number,
    value: number,
    sizeBytes = 4,
  ): void => target.write(at, bytesOf(value, sizeBytes));
  const config = {
    read: (at: number, data: Uint8Array) => root.readConfig(NUMBER, at, data),
    write: (at: number, data: Uint8Array) => root.writeConfig(NUMBER, at, data),
  };
  return { shared, root, io, mmio, device, config, read, write, events: () => log.splice(0) };
}

describe('mechanism #1', () => {
  const select = (bus: ReturnType<typeof create>, address: number): void => bus.write(bus.io, 0xcf8, address);

  test('is found by the probe of Linux', () => {
    const bus = create();
    bus.write(bus.io, 0xcfb, 0x01, 1);
    const saved = bus.read(bus.io, 0xcf8);
    select(bus, 0x8000_0000);
    assert.equal(bus.read(bus.io, 0xcf8), 0x8000_0000);
    assert.equal(bus.read(bus.io, 0xcfc), HOST_BRIDGE);
    assert.equal(bus.read(bus.io, 0xcfc + 2, 2), 0x1237);
    select(bus, 0x8000_0008);
    assert.equal(bus.read(bus.io, 0xcfe, 2), 0x0600);
    assert.equal(saved, 0);
  });

  test('the address is a double word: its reserved bits are 0 and narrower accesses do not reach it', () => {
    const bus = create();
    select(bus, 0xffff_ffff);
    assert.equal(bus.read(bus.io, 0xcf8), 0x80ff_fffc);
    for (const [port, sizeBytes] of [
      [0xcf8, 1],
      [0xcf8, 2],
      [0xcfa, 2],
      [0xcfa, 4],
      [0xcf8, 8],
    ] as const) {
      bus.write(bus.io, port, 0, sizeBytes);
      const data = new Uint8Array(sizeBytes);
      bus.io.read(port, data);
      assert.ok(data.every((byte) => byte === 0xff));
    }
    assert.equal(bus.read(bus.io, 0xcf8), 0x80ff_fffc);
  });

  test('the data are bytes of the register that is named', () => {
    const bus = create();
    select(bus, 0x8000_1800);
    assert.equal(bus.read(bus.io, 0xcfc), TEST_VENDOR_DEVICE);
    assert.deepEqual(
      [0, 1, 2, 3].map((byte) => bus.read(bus.io, 0xcfc + byte, 1)),
      [0x36, 0x1b, 0x78, 0x56],
    );
    assert.equal(bus.read(bus.io, 0xcfd, 2), 0x781b);
    select(bus, 0x8000_183c);
    bus.write(bus.io, 0xcfc, 0x0b, 1);
    assert.equal(bus.read(bus.io, 0xcfc, 2), 0x010b);
  });

  test('an access beyond the window reads ones there', () => {
    const bus = create();
    select(bus, 0x8000_1800);
    assert.equal(bus.read(bus.io, 0xcff, 2), 0xff56);
    assert.equal(bus.read(bus.io, 0xcfe, 4), 0xffff_5678);
    bus.write(bus.io, 0xcff, 0xffff, 2);
  });

  test('without the enable bit, on another bus and where no function is, nobody answers', () => {
    const bus = create();
    for (const address of [0x0000_1800, 0x8001_1800, 0x8000_1900, 0x8000_f800, 0x80ff_fffc]) {
      select(bus, address);
      bus.write(bus.io, 0xcfc, 0);
      assert.equal(bus.read(bus.io, 0xcfc), 0xffff_ffff);
    }
  });
});

describe('the enhanced mechanism', () => {
  test('has 4 KiB for each function', () => {
    const bus = create();
    assert.equal(bus.read(bus.mmio, 0), HOST_BRIDGE);
    assert.equal(bus.read(bus.mmio, 0x18000), TEST_VENDOR_DEVICE);
    assert.equal(bus.read(bus.mmio, 0x18002, 2), 0x5678);
    assert.equal(bus.read(bus.mmio, 0x18100), 0);
    assert.equal(bus.read(bus.mmio, 0x100), 0xffff_ffff);
  });

  test('other buses and absent functions read all ones', () => {
    const bus = create();
    for (const offset of [0x10_0000, 0x11_8000, 0x3ff_fffc, 0x1000, 0x19000, 0xff000]) {
      bus.write(bus.mmio, offset, 0);
      assert.equal(bus.read(bus.mmio, offset), 0xffff_ffff);
    }
  });

  test('accesses across registers and across the end of a function are made of their bytes', () => {
    const bus = create();
    assert.equal(bus.read(bus.mmio, 0x18002, 4), 0x0000_5678);
    assert.equal(bus.read(bus.mmio, 0x18ffe, 4), 0xffff_0000);
    bus.write(bus.mmio, 0x18003, 0x0600, 4);
    assert.equal(bus.read(bus.mmio, 0x18004, 2), 0x0006);
  });
});

describe('BARs', () => {
  test('are placed in the windows of the machine and read back', () => {
    const bus = create();
    assert.deepEqual(
      [0x10, 0x14, 0x18, 0x1c].map((at) => bus.read(bus.config, at)),
      [0x0000_0004, 1, 0xd000_0008, 0x0000_c001],
    );
  });

  test('answer while the guest decodes their space', () => {
    const bus = create();
    bus.write(bus.root.memory, BAR.SCRATCH, 0x1234_5678);
    assert.equal(bus.read(bus.root.memory, BAR.SCRATCH), 0xffff_ffff);
    bus.write(bus.config, 4, 2, 2);
    bus.write(bus.root.memory, BAR.SCRATCH + 4, 0x1234_5678);
    assert.equal(bus.read(bus.root.memory, BAR.SCRATCH, 8), 0x1234_5678 * 2 ** 32);
    assert.equal(bus.read(bus.root.ioPorts, BAR.IO), 0xffff_ffff);
    bus.write(bus.config, 4, 1, 1);
    assert.equal(bus.read(bus.root.ioPorts, BAR.IO), 0);
    assert.equal(bus.read(bus.root.memory, BAR.SCRATCH), 0xffff_ffff);
    assert.equal(bus.read(bus.root.memory, BAR.IO), 0xffff_ffff);
  });

  test('move, and answer there and only there', () => {
    const bus = create();
    bus.write(bus.config, 4, 7, 2);
    bus.write(bus.root.memory, BAR.SCRATCH, 0xabcd);
    bus.write(bus.config, 0x18, 0xe000_0fff);
    assert.equal(bus.read(bus.root.memory, BAR.SCRATCH), 0xffff_ffff);
    assert.equal(bus.read(bus.root.memory, 0xe000_0000), 0xabcd);
    bus.write(bus.config, 0x10, 0xe001_0000);
    bus.write(bus.config, 0x14, 0);
    assert.equal(bus.read(bus.root.memory, 0xe001_200c), 1);
  });

  test('at impossible addresses answer nowhere', () => {
    const bus = create();
    bus.write(bus.config, 4, 7, 2);
    bus.write(bus.config, 0x10, 0xffff_ffff);
    bus.write(bus.config, 0x14, 0xffff_ffff);
    assert.equal(bus.read(bus.root.memory, BAR.MSIX), 0xffff_ffff);
    assert.equal(bus.read(bus.root.memory, Number.MAX_SAFE_INTEGER), 0xffff_ffff);
  });

  test('an access across the end reads ones there and writes nothing beyond', () => {
    const bus = create();
    bus.write(bus.config, 4, 7, 2);
    bus.write(bus.root.memory, BAR.SCRATCH + 0xffc, 0x1122_3344);
    bus.write(bus.root.memory, BAR.SCRATCH + 0xffe, 0x5566_7788);
    assert.equal(bus.read(bus.root.memory, BAR.SCRATCH + 0xffc, 4), 0x7788_3344);
    assert.equal(bus.read(bus.root.memory, BAR.SCRATCH + 0xffe, 4), 0xffff_7788);
  });

  test('a write at the place of an event signals and does not reach the device', () => {
    const bus = create();
    bus.write(bus.config, 4, 2, 2);
    bus.events();
    for (const sizeBytes of [1, 2, 4, 8]) bus.write(bus.root.memory, BAR.MSIX + 0x1004, 7, sizeBytes);
    bus.write(bus.root.memory, BAR.MSIX + 0x1005, 7, 1);
    assert.deepEqual(bus.events(), ['event', 'event', 'event', 'event']);
  });

  test('what one thread programs the others see', () => {
    const one = create();
    const other = create(one.shared);
    one.write(one.config, 4, 2, 2);
    one.write(one.config, 0x18, 0xe000_0000);
    other.write(other.root.memory, 0xe000_0000, 0x77);
    assert.equal(other.read(other.root.memory, 0xe000_0000), 0x77);
    other.write(other.config, 4, 0, 2);
    assert.equal(one.read(one.root.memory, 0xe000_0000), 0xffff_ffff);
    one.write(one.config, 4, 2, 2);
    const late = create(one.shared);
    assert.equal(late.read(late.config, 0x18), 0xe000_0008);
    assert.equal(late.read(late.root.memory, 0xe000_0000), 0);
  });
});

describe('interrupts', () => {
  test('INTx follows what is pending, the disable bit, and the end of an interrupt', () => {
    const bus = create();
    assert.equal(bus.read(bus.config, 0x3c), 0x0110);
    bus.write(bus.config, 4, 2, 2);
    bus.events();
    bus.write(bus.root.memory, BAR.MSIX, 1);
    assert.deepEqual(bus.events(), ['line 1']);
    assert.equal(bus.read(bus.config, 6, 2), 0x18);
    bus.write(bus.config, 4, 0x402, 2);
    assert.deepEqual(bus.events(), ['line 0']);
    assert.equal(bus.read(bus.config, 6, 2), 0x18);
    bus.write(bus.config, 4, 0x002, 2);
    assert.deepEqual(bus.events(), ['line 1']);
    bus.write(bus.root.memory, BAR.MSIX, 0);
    assert.deepEqual(bus.events(), ['line 0']);
    assert.equal(bus.read(bus.config, 6, 2), 0x10);
  });

  test('MSI-X is set up by a driver through configuration space and BAR', () => {
    const bus = create();
    bus.write(bus.config, 4, 6, 2);
    const capability = bus.device.msixRegister * 4;
    assert.deepEqual(
      [0, 4, 8].map((at) => bus.read(bus.config, capability + at)),
      [0x0002_0011, 0x2000, 0x3000],
    );
    bus.write(bus.config, capability + 2, 0xc000, 2);
    bus.write(bus.root.memory, BAR.MSIX + 0x2000, 0xfee0_1000, 8);
    bus.write(bus.root.memory, BAR.MSIX + 0x2008, 0x41);
    bus.write(bus.root.memory, BAR.MSIX + 0x200c, 0);
    bus.write(bus.config, capability + 2, 0x8000, 2);
    bus.events();
    bus.write(bus.root.memory, BAR.MSIX, 1);
    assert.deepEqual(bus.events(), ['trigger 0']);
  });
});

test('a place is taken once, and function 0 comes first', () => {
  const { root, device } = create();
  const at = (slot: number, index: number) => ({
    address: { device: slot, function: index },
    device,
    bars: [],
    ioevents: [],
  });
  assert.throws(() => root.addDevice(at(SLOT, 0)), /00:03.0 is taken/);
  assert.throws(() => root.addDevice(at(0, 0)), /00:00.0 is taken/);
  assert.throws(() => root.addDevice(at(4, 1)), /00:04.1 has no function 0/);
  assert.throws(() => root.addDevice(at(32, 0)), { name: 'AssertionError' });
  root.addDevice(at(SLOT, 7));
});

test('a device that fails lets its lock go', () => {
  const root = new PciRoot(new Int32Array(PciRoot.STATE_WORDS));
  const fail = (): never => {
    throw new Error('gone');
  };
  const device: PciBusDevice = {
    debugLabel: 'gone',
    readConfigRegister: fail,
    writeConfigRegister: fail,
    readBar: fail,
    writeBar: fail,
  };
  root.addDevice({ address: { device: 1, function: 0 }, device, bars: [], ioevents: [] });
  for (let i = 0; i < 2; i++) {
    assert.throws(() => root.readConfig(8, 0, new Uint8Array(4)), /gone/);
    assert.throws(() => root.writeConfig(8, 0, new Uint8Array(4)), /gone/);
  }
});

test('whatever the guest writes, no access fails, fixed registers stay, and both mechanisms agree', () => {
  const access = fc.record({
    place: fc.constantFrom('config', 'mmio', 'io', 'memory', 'ports'),
    offset: fc.oneof(fc.nat(0x60), fc.nat(0x4010), fc.nat(0xffff_ffff)),
    data: fc.uint8Array({ minLength: 1, maxLength: 8 }),
    isWrite: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 50 }), (accesses) => {
      const bus = create();
      const places = {
        config: { device: bus.config, base: 0 },
        mmio: { device: bus.mmio, base: 0x18000 },
        io: { device: bus.io, base: 0xcf8 },
        memory: { device: bus.root.memory, base: BAR.MSIX },
        ports: { device: bus.root.ioPorts, base: BAR.IO },
      };
      bus.write(bus.config, 4, 7, 2);
      for (const { place, offset, data, isWrite } of accesses) {
        const { device, base } = places[place as keyof typeof places];
        if (isWrite) device.write(base + offset, data);
        else device.read(base + offset, data);
      }
      assert.equal(bus.read(bus.mmio, 0), HOST_BRIDGE);
      for (let register = 0; register < 64; register++) {
        bus.write(bus.io, 0xcf8, 0x8000_1800 + register * 4);
        assert.equal(bus.read(bus.io, 0xcfc), bus.read(bus.mmio, 0x18000 + register * 4));
      }
      assert.deepEqual(
        [0, 8, 0x2c, 0x34].map((at) => bus.read(bus.config, at)),
        [TEST_VENDOR_DEVICE, 0xff00_0007, 0x1100_1af4, 0x40],
      );
    }),
    { numRuns: 60 },
  );
});

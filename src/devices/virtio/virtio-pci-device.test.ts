import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { viewOf } from '#util/struct.ts';
import type { PlacedBar } from '../pci/pci-bar.ts';
import { BAR_FLAG, CAPABILITY, COMMAND, INTERRUPT_PIN, REGISTER, STATUS } from '../pci/registers.ts';
import { bytesOf, recordedInterrupts } from '../pci/testing.ts';
import { block } from './block/block.ts';
import { Feature, Status } from './constants.ts';
import type { VirtioDevice } from './device.ts';
import { rng } from './rng/rng.ts';
import { ManualWorkers, silentLog } from './testing/fakes.ts';
import { createMemory, HOLE } from './testing/memory.ts';
import { MemoryDisk } from './testing/memory-disk.ts';
import { MockDriver } from './testing/mock-driver.ts';
import { MockQueue } from './testing/mock-queue.ts';
import { BAR } from './transport/common-config.ts';
import { queueNotifyOffset, VIRTIO_BAR, VirtioPciDevice, virtioVectorCount } from './virtio-pci-device.ts';

const ADDRESS = 0x1_8000_0000;
const MSIX_TABLE = 0x6000;
const MSIX_PENDING = 0x7000;
/** The upper half of the capability's first register. */
const MSIX_ENABLE = 0x8000_0000;
const MSIX_MASK_ALL = 0x4000_0000;
const GSI = 18;
const MESSAGE = { address: 0xfee0_1000, data: 0x4051 } as const;

const newRng = (): VirtioDevice =>
  rng.create({ entropy: { fill: (target) => void target.fill(0x5a), keepFds: () => [] } });
const newBlock = (): VirtioDevice => block.create({ disk: new MemoryDisk(1 << 20), log: silentLog, name: 'block0' });

interface FoundCapability {
  readonly offset: number;
  readonly id: number;
  /** All bytes, the first two as well. */
  readonly bytes: DataView;
}

class Machine implements Disposable {
  readonly memory = createMemory();
  readonly workers = new ManualWorkers();
  readonly queue = new MockQueue(this.memory, { size: 8, start: HOLE.end });
  readonly interrupts: string[] = [];
  /** The level of INTx. */
  line = false;
  readonly events: readonly EventFd[];
  readonly pci: VirtioPciDevice;
  readonly driver: MockDriver;

  constructor(device = newRng(), vectorsMax = Number.POSITIVE_INFINITY) {
    this.events = device.queueMaxSizes.map(() => EventFd.create());
    const bars: readonly PlacedBar[] = [{ ...VIRTIO_BAR, address: ADDRESS }];
    const { memory, workers, events: queueEvents } = this;
    const interrupts = recordedInterrupts(this.interrupts, vectorsMax);
    const set = (asserted: boolean): void => {
      this.line = asserted;
    };
    const intx = { pin: INTERRUPT_PIN.INTA, gsi: GSI, line: { set } };
    this.pci = new VirtioPciDevice({ device, memory, queueEvents, bars, interrupts, intx, workers, log: silentLog });
    this.driver = new MockDriver({
      read: (offset, data) => this.pci.readBar(VIRTIO_BAR.index, offset, data),
      write: (offset, data) => this.pci.writeBar(VIRTIO_BAR.index, offset, data),
    });
  }

  config(register: number): number {
    return this.pci.readConfigRegister(register) >>> 0;
  }

  isInterruptPending(): boolean {
    return (this.config(REGISTER.COMMAND_STATUS) & STATUS.INTERRUPT) !== 0;
  }

  setConfig(register: number, value: number, sizeBytes = 4, offset = 0): void {
    this.pci.writeConfigRegister(register, offset, bytesOf(value, sizeBytes));
  }

  /** The list as a driver walks it. */
  capabilities(): FoundCapability[] {
    const space = new Uint8Array(Uint32Array.from({ length: 64 }, (_, register) => this.config(register)).buffer);
    const found: FoundCapability[] = [];
    for (
      let offset = this.config(REGISTER.CAPABILITIES_POINTER) & 0xff;
      offset !== 0;
      offset = space[offset + 1] ?? 0
    ) {
      assert.ok(offset % 4 === 0 && found.length < 16, 'a list that ends');
      found.push({ offset, id: space[offset] ?? 0, bytes: viewOf(space.subarray(offset)) });
    }
    return found;
  }

  capability(id: number, configType?: number): FoundCapability {
    const found = this.capabilities().find(
      (each) => each.id === id && (configType ?? each.bytes.getUint8(3)) === each.bytes.getUint8(3),
    );
    assert.ok(found !== undefined);
    return found;
  }

  setMsix(control: number): void {
    this.setConfig(this.capability(CAPABILITY.MSIX).offset / 4, control);
  }

  setVector(vector: number, isMasked: boolean): void {
    const words = [MESSAGE.address, 0, MESSAGE.data + vector, Number(isMasked)];
    words.forEach((word, index) => {
      this.driver.write(MSIX_TABLE + 16 * vector + 4 * index, 4, word);
    });
  }

  start(): void {
    this.driver.start(Feature.VERSION_1, this.queue.config({ vector: 1 }));
  }

  /** As an ioevent kicks. */
  kick(): void {
    this.events[0]?.write();
    this.workers.turn();
  }

  /** The window of §4.1.4.7, pointed somewhere; returns the register of its data. */
  window({ bar = VIRTIO_BAR.index as number, offset = 0, sizeBytes = 4 }): number {
    const register = this.capability(CAPABILITY.VENDOR, 5).offset / 4;
    this.setConfig(register + 1, bar, 1);
    this.setConfig(register + 2, offset);
    this.setConfig(register + 3, sizeBytes);
    return register + 4;
  }

  [Symbol.dispose](): void {
    this.pci.close();
    for (const event of this.events) event.close();
    this.memory.close();
  }
}

describe('a virtio device as a PCI function', () => {
  for (const { device, id, code } of [
    { device: newRng, id: 0x1044, code: 0xff00_0001 },
    { device: newBlock, id: 0x1042, code: 0x0180_0001 },
  ]) {
    test(`${id.toString(16)} is what the specification says`, () => {
      using machine = new Machine(device());
      const identity = ((id << 16) | 0x1af4) >>> 0;
      assert.equal(machine.config(REGISTER.ID), identity);
      assert.equal(machine.config(REGISTER.SUBSYSTEM), identity);
      assert.equal(machine.config(REGISTER.REVISION_CLASS), code >>> 0);
      assert.equal(machine.config(REGISTER.INTERRUPT), (INTERRUPT_PIN.INTA << 8) | GSI);
      assert.notEqual(machine.config(REGISTER.COMMAND_STATUS) & STATUS.CAPABILITIES_LIST, 0);
    });
  }

  test('tells by its capabilities where its structures are, each in the BAR', () => {
    using machine = new Machine();
    const found = machine.capabilities().map(({ id, bytes }) => {
      if (id === CAPABILITY.MSIX)
        return {
          vectors: bytes.getUint16(2, true) + 1,
          table: bytes.getUint32(4, true),
          pending: bytes.getUint32(8, true),
        };
      const [length, type, bar] = [bytes.getUint8(2), bytes.getUint8(3), bytes.getUint8(4)];
      return { length, type, bar, offset: bytes.getUint32(8, true), sizeBytes: bytes.getUint32(12, true) };
    });
    const bar = VIRTIO_BAR.index;
    assert.deepEqual(found, [
      { length: 16, type: 1, bar, ...BAR.COMMON },
      { length: 20, type: 2, bar, ...BAR.NOTIFY },
      { length: 16, type: 3, bar, ...BAR.ISR },
      { length: 16, type: 4, bar, ...BAR.DEVICE },
      { length: 20, type: 5, bar, offset: 0, sizeBytes: 0 },
      { vectors: virtioVectorCount(1), table: MSIX_TABLE, pending: MSIX_PENDING },
    ]);
    assert.equal(
      machine.capability(CAPABILITY.VENDOR, 2).bytes.getUint32(16, true),
      queueNotifyOffset(1) - queueNotifyOffset(0),
    );
    assert.ok(MSIX_PENDING + 8 <= VIRTIO_BAR.sizeBytes);
  });

  test('has one BAR of 64 bits, whose size a driver finds and whose address it may change', () => {
    using machine = new Machine();
    const [low, high] = [REGISTER.BAR0, REGISTER.BAR0 + 1];
    assert.deepEqual(
      [machine.config(low), machine.config(high)],
      [0x8000_0000 | BAR_FLAG.MEMORY_64, 1].map((word) => word >>> 0),
    );
    for (const register of [low, high]) machine.setConfig(register, 0xffff_ffff);
    assert.deepEqual([machine.config(low), machine.config(high)], [0xffff_8004, 0xffff_ffff]);
    for (let register = REGISTER.BAR0 + 2; register < REGISTER.BAR0 + 6; register++) {
      machine.setConfig(register, 0xffff_ffff);
      assert.equal(machine.config(register), 0);
    }
  });

  test('does not let its identity and its capabilities be written', () => {
    using machine = new Machine();
    const fixed = [REGISTER.ID, REGISTER.REVISION_CLASS, REGISTER.SUBSYSTEM, REGISTER.CAPABILITIES_POINTER];
    const common = machine.capability(CAPABILITY.VENDOR, 1).offset / 4;
    const registers = [...fixed, common, common + 1, common + 2, common + 3];
    const before = registers.map((register) => machine.config(register));
    for (const register of registers) machine.setConfig(register, 0xffff_ffff);
    assert.deepEqual(
      registers.map((register) => machine.config(register)),
      before,
    );
  });

  test('reads as zeros and takes writes where its BAR has nothing', () => {
    using machine = new Machine();
    for (const offset of [0x4000, 0x5ffc, MSIX_TABLE + 16 * 2, MSIX_PENDING + 8, VIRTIO_BAR.sizeBytes - 8]) {
      for (const width of [1, 2, 4, 8]) {
        machine.driver.write(offset, width, 0x7f);
        assert.equal(machine.driver.read(offset, width), 0, `${offset.toString(16)} ${width}`);
      }
    }
  });

  test('answers requests through its BAR and sends the vector of the queue', () => {
    using machine = new Machine();
    machine.setMsix(MSIX_ENABLE);
    machine.setVector(1, false);
    machine.start();
    const { addresses } = machine.queue.add({ writableBytes: 4 });
    machine.kick();
    assert.deepEqual(machine.queue.takeUsed(), { head: 0, length: 4 });
    assert.deepEqual([...machine.queue.bytes(addresses[0] ?? 0, 4)], [0x5a, 0x5a, 0x5a, 0x5a]);
    assert.deepEqual(machine.interrupts, ['allocate 1', 'route 1 fee01000 4052', 'trigger 1']);
  });

  for (const { how, control, isMasked } of [
    { how: 'one', control: MSIX_ENABLE, isMasked: true },
    { how: 'every', control: (MSIX_ENABLE | MSIX_MASK_ALL) >>> 0, isMasked: false },
  ]) {
    test(`keeps an interrupt pending while ${how} vector is masked`, () => {
      using machine = new Machine();
      machine.setMsix(control);
      machine.setVector(1, isMasked);
      machine.start();
      machine.queue.add({ writableBytes: 4 });
      machine.kick();
      assert.equal(machine.driver.read(MSIX_PENDING, 4), 1 << 1);
      assert.ok(!machine.interrupts.includes('trigger 1'));
      machine.setMsix(MSIX_ENABLE);
      machine.setVector(1, false);
      assert.equal(machine.driver.read(MSIX_PENDING, 4), 0);
      assert.equal(machine.interrupts.at(-1), 'trigger 1');
    });
  }

  test('works without interrupts where main gives no vector', () => {
    using machine = new Machine(newRng(), 0);
    machine.setMsix(MSIX_ENABLE);
    machine.setVector(1, false);
    machine.start();
    machine.queue.add({ writableBytes: 4 });
    machine.kick();
    assert.deepEqual([machine.queue.takeUsed(), machine.interrupts, machine.line], [{ head: 0, length: 4 }, [], false]);
  });

  test('asserts INTx while MSI-X is off, until the guest reads the ISR status or resets the device', () => {
    using machine = new Machine();
    const interrupt = (): void => {
      machine.queue.add({ writableBytes: 4 });
      machine.kick();
      assert.deepEqual([machine.line, machine.isInterruptPending()], [true, true]);
    };
    machine.start();
    interrupt();
    assert.equal(machine.driver.read(BAR.ISR.offset, 1), 1);
    assert.deepEqual([machine.line, machine.isInterruptPending()], [false, false]);
    assert.equal(machine.driver.read(BAR.ISR.offset, 1), 0);
    interrupt();
    machine.driver.reset();
    assert.deepEqual([machine.line, machine.isInterruptPending()], [false, false]);
    assert.deepEqual(machine.interrupts, []);
  });

  test('shows an interrupt in its status, but does not assert INTx, while the guest has disabled it', () => {
    using machine = new Machine();
    machine.setConfig(REGISTER.COMMAND_STATUS, COMMAND.INTX_DISABLE, 2);
    machine.start();
    machine.queue.add({ writableBytes: 4 });
    machine.kick();
    assert.deepEqual([machine.line, machine.isInterruptPending()], [false, true]);
    machine.pci.resample();
    assert.equal(machine.line, false);
    machine.setConfig(REGISTER.COMMAND_STATUS, 0, 2);
    assert.equal(machine.line, true);
    machine.setConfig(REGISTER.COMMAND_STATUS, COMMAND.INTX_DISABLE, 2);
    assert.equal(machine.line, false);
  });

  test('sends no INTx once the guest has enabled MSI-X', () => {
    using machine = new Machine();
    machine.start();
    machine.queue.add({ writableBytes: 4 });
    machine.kick();
    machine.setMsix(MSIX_ENABLE);
    assert.deepEqual([machine.line, machine.isInterruptPending()], [false, false]);
    machine.queue.add({ writableBytes: 4 });
    machine.kick();
    assert.equal(machine.line, false);
  });

  test('asserts INTx again when its service has ended and the guest has not read the ISR status', () => {
    using machine = new Machine();
    machine.start();
    machine.queue.add({ writableBytes: 4 });
    machine.kick();
    machine.line = false;
    machine.pci.resample();
    assert.equal(machine.line, true);
    machine.driver.read(BAR.ISR.offset, 1);
    machine.pci.resample();
    assert.equal(machine.line, false);
  });

  test('touches no buffer after a reset, and starts anew', () => {
    using machine = new Machine();
    machine.setMsix(MSIX_ENABLE);
    machine.setVector(1, false);
    machine.start();
    machine.driver.reset();
    machine.queue.add({ writableBytes: 4 });
    machine.kick();
    assert.equal(machine.queue.usedIndex, 0);
    assert.deepEqual([machine.driver.get('deviceStatus'), machine.driver.get('queueEnable')], [0, 0]);
    machine.start();
    machine.kick();
    assert.equal(machine.queue.usedIndex, 1);
    assert.equal(machine.interrupts.at(-1), 'trigger 1');
  });

  test('touches no buffer after its end', () => {
    using machine = new Machine();
    machine.start();
    machine.pci.close();
    machine.queue.add({ writableBytes: 4 });
    machine.kick();
    assert.equal(machine.queue.usedIndex, 0);
  });
});

describe('the window into the BAR', () => {
  test('reads and writes where the guest has pointed it', () => {
    using machine = new Machine();
    const data = machine.window({ offset: 0x14, sizeBytes: 1 });
    machine.setConfig(data, Status.ACKNOWLEDGE, 1);
    assert.equal(machine.driver.get('deviceStatus'), Status.ACKNOWLEDGE);
    machine.driver.set('deviceStatus', Status.ACKNOWLEDGE | Status.DRIVER);
    assert.equal(machine.config(data) & 0xff, Status.ACKNOWLEDGE | Status.DRIVER);
    machine.window({ offset: 0, sizeBytes: 4 });
    machine.setConfig(data, 1);
    machine.window({ offset: 4, sizeBytes: 4 });
    assert.equal(machine.config(data), 1, 'VERSION_1 is bit 32');
  });

  for (const { what, target } of [
    { what: 'another BAR', target: { bar: 1, sizeBytes: 1 } },
    { what: 'a size of 0', target: { sizeBytes: 0 } },
    { what: 'a size of 3', target: { sizeBytes: 3 } },
    { what: 'a size of 8', target: { sizeBytes: 8 } },
    { what: 'a size of 2^32 - 1', target: { sizeBytes: 0xffff_ffff } },
    { what: 'an offset that is not aligned', target: { offset: 2, sizeBytes: 4 } },
    { what: 'the end of the BAR', target: { offset: VIRTIO_BAR.sizeBytes, sizeBytes: 4 } },
    { what: 'an offset whose end wraps', target: { offset: 0xffff_fffc, sizeBytes: 4 } },
  ]) {
    test(`pointed at ${what} is a register that keeps what is written`, () => {
      using machine = new Machine();
      const data = machine.window(target);
      machine.setConfig(data, 0x1234_5678);
      assert.equal(machine.config(data), 0x1234_5678);
      assert.equal(machine.driver.get('deviceFeatureSelect'), 0);
    });
  }
});

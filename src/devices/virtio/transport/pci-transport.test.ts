import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { GuestMemory } from '#memory/guest-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import { namedTokens } from '#poll/token.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { Feature, NO_VECTOR, Status } from '../constants.ts';
import type { ActiveQueues, VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { ManualWorkers, RecordedPciInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MockDriver } from '../testing/mock-driver.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import { EventWorker, type Worker } from '../worker.ts';
import { BAR, CommonConfig, type CommonField, ISR } from './common-config.ts';
import { VirtioPciTransport } from './pci-transport.ts';

const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, NEEDS_RESET, FAILED } = Status;
const CONFIG = Uint8Array.of(1, 2, 3, 4, 5, 6);
const FIELDS = CommonConfig.fields;

/** Records what the transport asks of it. */
class FakeDevice implements VirtioDevice {
  readonly name = 'fake';
  readonly deviceType = 42;
  readonly queueMaxSizes = [8, 16];
  configGeneration = 0;
  readonly calls: string[] = [];
  readonly written: [number, number[]][] = [];
  queues: ActiveQueues = [];
  interrupt: Interrupt | undefined;
  failure: Error | undefined;

  features(): bigint {
    return 0x21n;
  }
  ackFeatures(bits: bigint): void {
    this.calls.push(`ack ${bits.toString(16)}`);
  }
  readConfig(offset: number, data: Uint8Array): void {
    data.set(CONFIG.subarray(offset, offset + data.length));
  }
  writeConfig(offset: number, data: Uint8Array): void {
    this.written.push([offset, [...data]]);
  }
  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, events: readonly EventFd[]): Worker {
    this.calls.push('activate');
    if (this.failure !== undefined) throw this.failure;
    this.queues = queues;
    this.interrupt = interrupt;
    const event = events[0] as EventFd;
    return new EventWorker(namedTokens('kick'), [[event, 'kick']], (token) => {
      event.read();
      this.calls.push(token);
    });
  }
  reset(): void {
    this.calls.push('reset');
  }
  keepFds(): readonly number[] {
    return [];
  }
}

class Machine implements Disposable {
  readonly memory = createMemory();
  readonly device = new FakeDevice();
  readonly pci = new RecordedPciInterrupt();
  readonly workers = new ManualWorkers();
  readonly events = [EventFd.create(), EventFd.create()];
  readonly driver = new MockQueue(this.memory, { size: 8 });
  readonly transport = new VirtioPciTransport({
    device: this.device,
    memory: this.memory,
    interrupt: this.pci,
    vectorCount: 3,
    queueEvents: this.events,
    workers: this.workers,
    log: silentLog,
  });

  readonly registers = new MockDriver(this.transport);

  read(offset: number, size: number): number {
    return this.registers.read(offset, size);
  }

  write(offset: number, size: number, value: number | bigint): void {
    this.registers.write(offset, size, value);
  }

  get(name: CommonField): number {
    return this.registers.get(name);
  }

  set(name: CommonField, value: number | bigint): void {
    this.registers.set(name, value);
  }

  enableQueue(index = 0): void {
    this.registers.enableQueue(index, this.driver.config({ vector: index + 1 }));
  }

  start(features: bigint = Feature.VERSION_1): void {
    this.registers.start(features, this.driver.config({ vector: 1 }));
  }

  [Symbol.dispose](): void {
    this.transport.close();
    for (const event of this.events) event.close();
    this.memory.close();
  }
}

describe('the common configuration', () => {
  test('is 56 bytes with the offsets of the specification', () => {
    assert.equal(CommonConfig.size, 56);
    const offsets = Object.values(FIELDS).map(({ offset }) => offset);
    assert.deepEqual(offsets, [0, 4, 8, 12, 16, 18, 20, 21, 22, 24, 26, 28, 30, 32, 40, 48]);
  });

  test('after reset', () => {
    using machine = new Machine();
    assert.deepEqual([machine.get('numQueues'), machine.get('deviceStatus'), machine.get('queueSize')], [2, 0, 8]);
    assert.deepEqual([machine.get('msixConfig'), machine.get('queueMsixVector')], [NO_VECTOR, NO_VECTOR]);
    machine.set('queueSelect', 1);
    assert.deepEqual([machine.get('queueSize'), machine.get('queueNotifyOff'), machine.get('queueEnable')], [16, 1, 0]);
  });

  test('offers the features of device and transport in two windows, and zeros in all others', () => {
    using machine = new Machine();
    const window = (select: number): number => {
      machine.set('deviceFeatureSelect', select);
      return machine.get('deviceFeature');
    };
    assert.deepEqual([0, 1, 2, 0xffff_ffff].map(window), [0x3000_0021, 1, 0, 0]);
  });

  test('reads alike in any width and at any alignment; beyond its end zeros', () => {
    using machine = new Machine();
    machine.set('queueDesc', 0x1122_3344_5566_7788n);
    const whole = new Uint8Array(BAR.COMMON.sizeBytes + 16);
    for (let offset = 0; offset < whole.length; offset++) whole[offset] = machine.read(offset, 1);
    assert.ok(whole.subarray(BAR.COMMON.sizeBytes).every((byte) => byte === 0));
    assert.equal(Buffer.from(whole.subarray(32, 40)).reverse().toString('hex'), '1122334455667788');
    for (const size of [2, 3, 4, 8]) {
      for (let offset = 0; offset < BAR.COMMON.sizeBytes; offset++) {
        const data = new Uint8Array(size);
        machine.transport.read(offset, data);
        assert.deepEqual([...data], [...whole.subarray(offset, offset + size)], `${size} bytes at ${offset}`);
      }
    }
  });

  test('takes a 64-bit field whole or by halves, and nothing else that is not a whole field', () => {
    using machine = new Machine();
    machine.write(FIELDS.queueDesc.offset + 4, 4, 0xdead_beef);
    machine.write(FIELDS.queueDesc.offset, 4, 0xffff_ffff);
    assert.equal(machine.read(FIELDS.queueDesc.offset, 4), 0xffff_ffff);
    assert.equal(machine.read(FIELDS.queueDesc.offset + 4, 4), 0xdead_beef);
    machine.write(FIELDS.queueDesc.offset, 1, 0);
    machine.write(FIELDS.queueDesc.offset + 1, 4, 0);
    machine.write(FIELDS.queueDesc.offset + 4, 8, 0);
    machine.write(FIELDS.deviceStatus.offset, 2, ACKNOWLEDGE);
    machine.write(FIELDS.queueSize.offset + 1, 1, 1);
    machine.write(FIELDS.queueSize.offset, 4, 4);
    machine.write(60, 4, 0);
    assert.equal(machine.read(FIELDS.queueDesc.offset, 4), 0xffff_ffff);
    assert.deepEqual([machine.get('deviceStatus'), machine.get('queueSize')], [0, 8]);
  });

  test('a queue that does not exist has size 0 and takes nothing', () => {
    using machine = new Machine();
    machine.set('queueSelect', 2);
    machine.enableQueue(2);
    assert.deepEqual([machine.get('queueSize'), machine.get('queueEnable'), machine.get('queueDesc')], [0, 0, 0]);
    assert.equal(machine.get('deviceStatus') & NEEDS_RESET, 0);
  });

  test('a vector that the function does not have reads back as none', () => {
    using machine = new Machine();
    machine.set('msixConfig', 2);
    machine.set('queueMsixVector', 2);
    assert.deepEqual([machine.get('msixConfig'), machine.get('queueMsixVector')], [2, 2]);
    machine.set('msixConfig', 3);
    machine.set('queueMsixVector', 3);
    assert.deepEqual([machine.get('msixConfig'), machine.get('queueMsixVector')], [NO_VECTOR, NO_VECTOR]);
  });
});

describe('the driver status', () => {
  test('goes up step by step, and the device is told of the features', () => {
    using machine = new Machine();
    machine.start(Feature.VERSION_1 | 1n);
    assert.equal(machine.get('deviceStatus'), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    assert.deepEqual(machine.device.calls, ['ack 100000001', 'activate']);
    assert.deepEqual([machine.device.queues[0]?.size, machine.device.queues[1]], [8, undefined]);
  });

  test('does not take a step before those below it', () => {
    using machine = new Machine();
    for (const status of [DRIVER, FEATURES_OK, DRIVER_OK, ACKNOWLEDGE | DRIVER_OK]) machine.set('deviceStatus', status);
    assert.equal(machine.get('deviceStatus'), ACKNOWLEDGE);
    assert.deepEqual(machine.device.calls, []);
  });

  test('bits go away only by a reset', () => {
    using machine = new Machine();
    machine.registers.negotiate(Feature.VERSION_1);
    machine.set('deviceStatus', ACKNOWLEDGE);
    assert.equal(machine.get('deviceStatus'), ACKNOWLEDGE | DRIVER | FEATURES_OK);
    machine.set('deviceStatus', 0);
    assert.equal(machine.get('deviceStatus'), 0);
  });

  test('FEATURES_OK is refused for bits that are not offered, or without VERSION_1', () => {
    for (const features of [Feature.VERSION_1 | 2n, Feature.VERSION_1 | (1n << 63n), 1n, 0n]) {
      using machine = new Machine();
      machine.registers.negotiate(features);
      assert.equal(machine.get('deviceStatus'), ACKNOWLEDGE | DRIVER);
      machine.registers.negotiate(Feature.VERSION_1);
      assert.equal(machine.get('deviceStatus'), ACKNOWLEDGE | DRIVER | FEATURES_OK, 'the driver may try again');
    }
  });

  test('FEATURES_OK is refused for a bit beyond 64', () => {
    using machine = new Machine();
    machine.set('driverFeatureSelect', 2);
    machine.set('driverFeature', 1);
    machine.registers.negotiate(Feature.VERSION_1);
    assert.equal(machine.get('deviceStatus'), ACKNOWLEDGE | DRIVER);
  });

  test('features are frozen by FEATURES_OK', () => {
    using machine = new Machine();
    machine.registers.negotiate(Feature.VERSION_1);
    machine.set('driverFeatureSelect', 0);
    machine.set('driverFeature', 1);
    assert.equal(machine.get('driverFeature'), 0);
  });

  test('a driver that gave up is not activated, and NEEDS_RESET is not its to write', () => {
    using machine = new Machine();
    machine.registers.negotiate(Feature.VERSION_1);
    machine.set('deviceStatus', ACKNOWLEDGE | DRIVER | FEATURES_OK | FAILED | NEEDS_RESET);
    machine.set('deviceStatus', ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    assert.equal(machine.transport.isActive, false);
    assert.equal(machine.get('deviceStatus') & NEEDS_RESET, 0);
  });
});

describe('queues', () => {
  test('are frozen while enabled, but for the vector', () => {
    using machine = new Machine();
    machine.enableQueue();
    machine.set('queueSize', 4);
    for (const name of ['queueDesc', 'queueDriver', 'queueDevice'] as const) machine.set(name, 0x123);
    machine.set('queueEnable', 0);
    machine.set('queueMsixVector', 2);
    assert.deepEqual([machine.get('queueSize'), machine.get('queueEnable')], [8, 1]);
    assert.equal(machine.get('queueDesc'), machine.driver.descriptorTable);
    assert.equal(machine.get('queueDriver'), machine.driver.availableRing);
    assert.equal(machine.get('queueMsixVector'), 2);
  });

  test('that cannot be used are not enabled, and the driver has to reset', () => {
    for (const [name, value] of [
      ['queueSize', 3],
      ['queueSize', 0],
      ['queueSize', 32],
      ['queueDesc', 8],
      ['queueDevice', 2 ** 40],
      ['queueDriver', 0xffff_ffff_ffff_fffen],
    ] as const) {
      using machine = new Machine();
      machine.set(name, value);
      machine.set('queueEnable', 1);
      assert.deepEqual([machine.get('queueEnable'), machine.get('deviceStatus')], [0, NEEDS_RESET], name);
    }
  });

  test('are not enabled behind the back of an active device', () => {
    using machine = new Machine();
    machine.start();
    machine.enableQueue(1);
    assert.equal(machine.get('queueEnable'), 0);
  });

  test('a changed vector reaches a queue that is active', () => {
    using machine = new Machine();
    machine.start();
    assert.equal(machine.device.queues[0]?.vector, 1);
    machine.set('queueMsixVector', 2);
    assert.equal(machine.device.queues[0]?.vector, 2);
  });
});

describe('notifications', () => {
  test('write the event of the queue, which its worker sees', () => {
    using machine = new Machine();
    machine.start();
    machine.write(BAR.NOTIFY.offset, 2, 0);
    machine.workers.turn();
    assert.equal(machine.device.calls.at(-1), 'kick');
    machine.write(BAR.NOTIFY.offset + 4, 2, 1);
    assert.deepEqual([machine.events[0]?.read(), machine.events[1]?.read()], [undefined, 1n]);
  });

  test('elsewhere do nothing, and read as zeros', () => {
    using machine = new Machine();
    for (const offset of [1, 2, 8, 0xffc, 0x1000, 0x4000]) machine.write(BAR.NOTIFY.offset + offset, 2, 0);
    assert.deepEqual([machine.events[0]?.read(), machine.events[1]?.read()], [undefined, undefined]);
    assert.equal(machine.read(BAR.NOTIFY.offset, 4), 0);
  });
});

describe('interrupts', () => {
  test('without MSI-X set ISR bits and the line, until the ISR is read', () => {
    using machine = new Machine();
    machine.start();
    machine.device.interrupt?.signalUsedQueue(1);
    machine.device.interrupt?.signalConfigChanged();
    assert.equal(machine.pci.line, true);
    assert.equal(machine.read(BAR.ISR.offset + 1, 1), 0, 'only the register itself clears');
    assert.deepEqual([machine.read(BAR.ISR.offset, 4), machine.pci.line], [ISR.QUEUE | ISR.CONFIG, false]);
    assert.equal(machine.read(BAR.ISR.offset, 1), 0);
  });

  test('with MSI-X trigger vectors, and none where none is mapped', () => {
    using machine = new Machine();
    machine.pci.msixEnabled = true;
    machine.start();
    machine.device.interrupt?.signalUsedQueue(1);
    machine.device.interrupt?.signalConfigChanged();
    machine.set('msixConfig', 0);
    machine.device.interrupt?.signalConfigChanged();
    machine.device.interrupt?.signalUsedQueue(NO_VECTOR);
    assert.deepEqual([machine.pci.triggered, machine.pci.line, machine.read(BAR.ISR.offset, 1)], [[1, 0], false, 0]);
  });

  test('a device that needs a reset says so in the status and by a configuration interrupt', () => {
    using machine = new Machine();
    machine.start();
    machine.device.interrupt?.signalNeedsReset('a test');
    assert.equal(machine.get('deviceStatus') & NEEDS_RESET, NEEDS_RESET);
    assert.equal(machine.read(BAR.ISR.offset, 1), ISR.CONFIG);
  });
});

describe('the device configuration', () => {
  test('is the device’s, padded with zeros, with the generation it gives', () => {
    using machine = new Machine();
    assert.deepEqual([machine.read(BAR.DEVICE.offset + 1, 2), machine.read(BAR.DEVICE.offset + 4, 4)], [0x302, 0x605]);
    machine.write(BAR.DEVICE.offset + 3, 1, 9);
    assert.deepEqual(machine.device.written, [[3, [9]]]);
    machine.device.configGeneration = 0x1ff;
    assert.equal(machine.get('configGeneration'), 0xff);
  });
});

describe('reset', () => {
  test('closes the worker first, and everything can be done again', () => {
    using machine = new Machine();
    machine.start(Feature.VERSION_1 | 1n);
    machine.device.interrupt?.signalUsedQueue(1);
    machine.set('msixConfig', 1);
    const [worker] = machine.workers.workers;
    machine.set('deviceStatus', 0);
    assert.throws(() => worker?.fd, 'the worker is closed');
    assert.deepEqual([machine.transport.isActive, machine.workers.workers.size, machine.pci.line], [false, 0, false]);
    assert.deepEqual([machine.get('queueEnable'), machine.get('queueDesc'), machine.get('driverFeature')], [0, 0, 0]);
    assert.deepEqual([machine.get('msixConfig'), machine.read(BAR.ISR.offset, 1)], [NO_VECTOR, 0]);
    machine.start();
    assert.deepEqual(machine.device.calls, ['ack 100000001', 'activate', 'reset', 'ack 100000000', 'activate']);
    assert.equal(machine.workers.workers.size, 1);
  });

  test('an activation that the host refuses needs one', () => {
    using machine = new Machine();
    machine.device.failure = new SyscallError('epoll_create1', 24);
    machine.start();
    assert.deepEqual([machine.transport.isActive, machine.get('deviceStatus') & NEEDS_RESET], [false, NEEDS_RESET]);
    machine.device.failure = undefined;
    machine.set('deviceStatus', 0);
    machine.start();
    assert.equal(machine.transport.isActive, true);
  });

  test('a worker that the loop refuses is closed', () => {
    using machine = new Machine();
    let refused: Worker | undefined;
    machine.workers.add = (worker) => {
      refused = worker;
      throw new SyscallError('epoll_ctl', 28);
    };
    machine.start();
    assert.equal(machine.transport.isActive, false);
    assert.throws(() => refused?.fd, 'the worker is closed');
    machine.set('deviceStatus', 0);
    assert.equal(machine.get('deviceStatus'), 0);
  });
});

test('any accesses in any order: nothing throws, and an active device has passed every step', () => {
  const offset = fc.oneof(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 0, max: 0x4010 }));
  const value = fc.oneof(fc.integer({ min: 0, max: 15 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
  const access = fc.tuple(fc.boolean(), offset, fc.constantFrom(1, 2, 4, 8), value);
  const property = fc.property(fc.array(access, { maxLength: 200 }), (accesses) => {
    using machine = new Machine();
    for (const [isRead, at, size, written] of accesses) {
      if (isRead) machine.read(at, size);
      else machine.write(at, size, written);
      const all = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
      assert.ok(!machine.transport.isActive || (machine.transport.status & all) === all);
    }
  });
  fc.assert(property, { numRuns: 100 });
});

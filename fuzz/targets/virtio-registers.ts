/**
 * The registers of a virtio PCI device under any accesses, with a queue full of requests and kicks at any time. Whatever was
 * done: nothing throws, the status tells the truth, and after a reset a good driver gets its answer.
 */
import assert from 'node:assert/strict';
import { Status } from '#devices/virtio/constants.ts';
import { Rng } from '#devices/virtio/rng/rng.ts';
import { ManualWorkers, RecordedPciInterrupt, silentLog } from '#devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { MockDriver } from '#devices/virtio/testing/mock-driver.ts';
import { MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import { BAR, CommonConfig, type CommonField } from '#devices/virtio/transport/common-config.ts';
import { VirtioPciTransport } from '#devices/virtio/transport/pci-transport.ts';
import { EventFd } from '#poll/event-fd.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const STEPS = 120;
const FIELDS = Object.keys(CommonConfig.fields) as CommonField[];
const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK } = Status;
const ALL_STEPS = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;

class Machine implements Disposable {
  readonly memory = createMemory(0x2_0000);
  readonly queue = new MockQueue(this.memory, { size: 16, start: HOLE.end });
  readonly event = EventFd.create();
  readonly workers = new ManualWorkers();
  readonly transport = new VirtioPciTransport({
    device: new Rng({ entropy: { fill: (target) => target.fill(0x5a), keepFds: () => [] } }),
    memory: this.memory,
    interrupt: new RecordedPciInterrupt(),
    vectorCount: 2,
    queueEvents: [this.event],
    workers: this.workers,
    log: silentLog,
  });
  readonly driver: MockDriver;

  /** `access` stands between driver and registers. */
  constructor(access: (transport: VirtioPciTransport) => Pick<VirtioPciTransport, 'read' | 'write'>) {
    this.driver = new MockDriver(access(this.transport));
  }

  [Symbol.dispose](): void {
    this.transport.close();
    this.event.close();
    this.memory.close();
  }
}

function step({ driver, queue, workers }: Machine, random: Random): void {
  switch (random.below(10)) {
    case 0:
      driver.start(driver.offeredFeatures() & random.pick([1n << 32n, ~0n]), queue.config());
      break;
    case 1:
      driver.negotiate(random.boundary(64));
      break;
    case 2:
      driver.set('deviceStatus', random.pick([0, 1, 3, 11, 15, random.below(256)]));
      break;
    case 3:
      queue.add({ writableBytes: 1 + random.below(100) });
      if (random.oneIn(20)) queue.makeAvailable(random.below(40));
      driver.notify(0);
      break;
    case 4:
      for (const worker of [...workers.workers]) worker.turn(0);
      break;
    case 5:
      driver.read(random.below(0x4100), random.pick([1, 2, 4, 8]));
      break;
    case 6:
      driver.write(random.below(0x4100), random.pick([1, 2, 4, 8]), random.boundary(64));
      break;
    case 7:
      driver.enableQueue(
        random.below(2),
        queue.config({ size: random.pick([16, 16, 256, Number(random.boundary(16))]) }),
      );
      break;
    default:
      driver.set(random.pick(FIELDS), random.oneIn(2) ? random.boundary(64) : random.below(16));
  }
}

function checkGoodDriver({ memory, driver, transport, workers, event }: Machine): void {
  driver.reset();
  assert.equal(driver.get('deviceStatus'), 0);
  assert.equal(workers.workers.size, 0, 'no worker outlives a reset');
  // A kick that came before is none of the new driver's.
  event.read();
  memory.fill(HOLE.end, 0x1000, 0);
  const queue = new MockQueue(memory, { size: 16, start: HOLE.end });
  driver.start(driver.offeredFeatures(), queue.config());
  assert.equal(driver.get('deviceStatus'), ALL_STEPS);
  assert.ok(transport.isActive);
  const { head } = queue.add({ writableBytes: 7 });
  driver.notify(0);
  workers.turn();
  assert.deepEqual(queue.takeUsed(), { head, length: 7 });
}

function registersTarget(access: (transport: VirtioPciTransport) => Pick<VirtioPciTransport, 'read' | 'write'>) {
  return {
    name: 'virtio-registers',
    run(random: Random) {
      using machine = new Machine(access);
      for (let count = 0; count < STEPS; count++) {
        step(machine, random);
        const { status, isActive } = machine.transport;
        assert.ok(!isActive || (status & ALL_STEPS) === ALL_STEPS, 'an active device has passed every step');
        assert.equal(machine.workers.workers.size, isActive ? 1 : 0);
      }
      checkGoodDriver(machine);
    },
  } satisfies FuzzTarget;
}

export const target = registersTarget((transport) => transport);

/** Deliberately wrong: a reset that comes while the device has faults is forgotten. */
export const canary = registersTarget((transport) => ({
  read: (offset, data) => transport.read(offset, data),
  write: (offset, data) => {
    const isReset = offset === BAR.COMMON.offset + CommonConfig.fields.deviceStatus.offset && data[0] === 0;
    if (!isReset || (transport.status & Status.NEEDS_RESET) === 0) transport.write(offset, data);
  },
}));

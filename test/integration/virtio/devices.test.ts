/** Devices behind the registers, driven as a driver does, on real files. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { block } from '#devices/virtio/block/block.ts';
import { RequestHeader, RequestType } from '#devices/virtio/block/constants.ts';
import type { VirtioDevice } from '#devices/virtio/device.ts';
import { UrandomSource } from '#devices/virtio/rng/entropy-source.ts';
import { rng } from '#devices/virtio/rng/rng.ts';
import { RecordedPciInterrupt, silentLog } from '#devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { MockDriver } from '#devices/virtio/testing/mock-driver.ts';
import { MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import { VirtioPciTransport } from '#devices/virtio/transport/pci-transport.ts';
import { WorkerLoop } from '#devices/virtio/worker-loop.ts';
import { RawDisk } from '#disk/raw.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';

const folder = mkdtempSync(join(tmpdir(), 'virtio-'));
after(() => rmSync(folder, { recursive: true }));

class Machine implements Disposable {
  readonly memory = createMemory();
  readonly driver = new MockQueue(this.memory, { size: 64, start: HOLE.end });
  readonly pci = new RecordedPciInterrupt();
  readonly loop = new WorkerLoop();
  readonly events: EventFd[];
  readonly transport: VirtioPciTransport;
  readonly registers: MockDriver;

  constructor(device: VirtioDevice) {
    this.events = device.queueMaxSizes.map(() => EventFd.create());
    this.transport = new VirtioPciTransport({
      device,
      memory: this.memory,
      interrupt: this.pci,
      vectorCount: 2,
      queueEvents: this.events,
      workers: this.loop,
      log: silentLog,
    });
    this.registers = new MockDriver(this.transport);
  }

  /** All features that are offered. */
  start(): void {
    this.registers.start(this.registers.offeredFeatures(), this.driver.config());
    assert.ok(this.transport.isActive);
  }

  kick(): void {
    this.registers.notify(0);
    this.loop.turn(1000);
  }

  [Symbol.dispose](): void {
    this.transport.close();
    this.loop[Symbol.dispose]();
    for (const event of this.events) event.close();
    this.memory.close();
  }
}

describe('a driver', () => {
  test('writes a file by virtio-blk, flushes it and reads it back', () => {
    const path = join(folder, 'disk.img');
    writeFileSync(path, Buffer.alloc(64 * 1024));
    using disk = RawDisk.open(path);
    const device = block.create({ disk, log: silentLog });
    using machine = new Machine(device);
    machine.start();
    const header = (type: number, sector = 0) => ({ readable: RequestHeader.encode({ type, sector }) });
    const content = Uint8Array.from({ length: 2048 }, (_, at) => at * 7);
    const { driver } = machine;
    const statuses = [
      driver.add(header(RequestType.OUT, 3), { readable: content }, { writableBytes: 1 }).addresses[2],
      driver.add(header(RequestType.FLUSH), { writableBytes: 1 }).addresses[1],
    ];
    const read = driver.addIndirect(
      header(RequestType.IN, 3),
      { writableBytes: 1000 },
      { writableBytes: 1048 },
      { writableBytes: 1 },
    );
    machine.kick();
    assert.deepEqual(
      [1, 2, 3].map(() => driver.takeUsed()?.length),
      [1, 1, 2049],
    );
    assert.deepEqual(
      [...statuses, read.addresses[3]].map((address) => machine.memory.readU8(address as number)),
      [0, 0, 0],
    );
    assert.deepEqual(driver.bytes(read.addresses[1] as number, 2048), content);
    assert.deepEqual(Uint8Array.from(readFileSync(path).subarray(1536, 3584)), content);
    assert.equal(machine.pci.line, true);
  });

  test('gets other bytes from virtio-rng each time, and again after a reset', () => {
    using fd = Fd.open('/dev/urandom', OpenFlag.RDONLY);
    const device = rng.create({ entropy: new UrandomSource(fd) });
    using machine = new Machine(device);
    const seen = new Set<string>();
    for (let round = 0; round < 2; round++) {
      machine.memory.fill(HOLE.end, 0x1000, 0);
      const driver = new MockQueue(machine.memory, { size: 64, start: HOLE.end });
      machine.start();
      for (let count = 0; count < 2; count++) {
        const { addresses } = driver.add({ writableBytes: 32 });
        machine.kick();
        assert.equal(driver.takeUsed()?.length, 32);
        seen.add(Buffer.from(driver.bytes(addresses[0] as number, 32)).toString('hex'));
      }
      machine.registers.reset();
      assert.equal(machine.transport.isActive, false);
    }
    assert.equal(seen.size, 4);
  });
});

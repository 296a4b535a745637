/** A guest without a processor: the bus with the device processes behind it, and a driver for each of them. */
import { PciRoot } from '#devices/pci/pci-root.ts';
import { COMMAND, REGISTER } from '#devices/pci/registers.ts';
import { type ProxiedFunction, pciFunctionOf } from '#devices/proxy/proxied-function.ts';
import { Feature, Status } from '#devices/virtio/constants.ts';
import { DescriptorFlag } from '#devices/virtio/queue/ring-layout.ts';
import { MockDriver } from '#devices/virtio/testing/mock-driver.ts';
import {
  type MockBuffer,
  type MockChain,
  MockQueue,
  type RawDescriptor,
  type UsedElement,
} from '#devices/virtio/testing/mock-queue.ts';
import { BAR } from '#devices/virtio/transport/common-config.ts';
import { GuestMemory, type GuestMemoryDescription } from '#memory/guest-memory.ts';
import { assert } from '#util/assert.ts';
import { KiB, MiB } from '#util/bits.ts';
import { REQUESTS_PER_TURN } from '#vmm/devices/virtio-process.ts';
import { TARGETS, type Target } from './targets.ts';

/** Each device's queues and buffers lie in a part of RAM of its own; the first one is nobody's. */
const AREA_BYTES = MiB;
const QUEUE_BYTES = 128 * KiB;
/** Behind the areas: for large buffers. */
export const FREE_RAM = 24 * MiB;
export const RAM_BYTES = 32 * MiB;
/** The last of so many reads is answered after the device has turned its workers. */
const BARRIER_READS = 2 * REQUESTS_PER_TURN;
/** A device that goes on for so many barriers never ends. */
const BARRIERS_MAX = 5000;

export const ALL_FEATURES = Feature.VERSION_1 | Feature.RING_INDIRECT_DESC;

/** The machine's devices on a bus, as a vCPU thread has them. */
export class Guest implements Disposable {
  readonly memory: GuestMemory;
  readonly root = new PciRoot(new Int32Array(new SharedArrayBuffer(4 * PciRoot.STATE_WORDS)));
  readonly attacks: readonly Attack[];
  /** `label: reason` of accesses that no device answered. */
  readonly failures: string[] = [];

  constructor(memory: GuestMemoryDescription, functions: readonly ProxiedFunction[]) {
    this.memory = GuestMemory.fromFd(memory.fd, memory.regions);
    this.attacks = TARGETS.map((target, index) => {
      const described = functions.find(({ debugLabel }) => debugLabel === target.name);
      assert(described !== undefined, `the machine has a device ${target.name}`);
      const onFailure = (label: string, reason: string): void => void this.failures.push(`${label}: ${reason}`);
      this.root.addDevice(pciFunctionOf(described, onFailure));
      return new Attack(this, { target, described, area: (index + 1) * AREA_BYTES });
    });
  }

  [Symbol.dispose](): void {
    this.memory.close();
  }
}

interface Place {
  readonly target: Target;
  readonly described: ProxiedFunction;
  readonly area: number;
}

/** One device, and what the guest does to it. */
export class Attack {
  readonly guest: Guest;
  readonly target: Target;
  readonly driver: MockDriver;
  readonly functionNumber: number;
  readonly barAddress: number;
  readonly area: number;
  /** Of the life that began with the last `start`. */
  queues: readonly MockQueue[] = [];

  constructor(guest: Guest, { target, described, area }: Place) {
    this.guest = guest;
    this.target = target;
    this.area = area;
    this.functionNumber = described.address.device * 8 + described.address.function;
    this.barAddress = described.bars[0]?.address ?? 0;
    const { memory } = guest.root;
    this.driver = new MockDriver({
      read: (offset, data) => memory.read(this.barAddress + offset, data),
      write: (offset, data) => memory.write(this.barAddress + offset, data),
    });
    this.placeBar();
  }

  get memory(): GuestMemory {
    return this.guest.memory;
  }

  /** The queue of requests. */
  get queue(): MockQueue {
    const queue = this.queues[this.target.queue];
    assert(queue !== undefined, 'the device was started');
    return queue;
  }

  get status(): number {
    return this.driver.get('deviceStatus');
  }

  /** Puts the BAR to where it was when the machine started, and has it decoded. */
  placeBar(): void {
    this.writeConfig(REGISTER.BAR0 * 4, 4, this.barAddress % 2 ** 32);
    this.writeConfig(REGISTER.BAR0 * 4 + 4, 4, Math.floor(this.barAddress / 2 ** 32));
    this.writeConfig(REGISTER.COMMAND_STATUS * 4, 2, COMMAND.MEMORY_SPACE | COMMAND.BUS_MASTER);
  }

  readConfig(offset: number, size: number): number {
    const data = new Uint8Array(size);
    this.guest.root.readConfig(this.functionNumber, offset, data);
    return data.reduceRight((value, byte) => value * 256 + byte, 0);
  }

  writeConfig(offset: number, size: number, value: number): void {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setBigUint64(0, BigInt(value), true);
    this.guest.root.writeConfig(this.functionNumber, offset, data.subarray(0, size));
  }

  /** Empty queues in the device's own part of RAM, known to nobody yet. */
  makeQueues(): void {
    this.memory.fill(this.area, AREA_BYTES, 0);
    this.queues = Array.from({ length: this.driver.get('numQueues') }, (_, index) => {
      this.driver.set('queueSelect', index);
      const start = this.area + index * QUEUE_BYTES;
      return new MockQueue(this.memory, { size: this.driver.get('queueSize'), start, end: start + QUEUE_BYTES });
    });
  }

  /** Resets the device and drives it as the specification says, with the features that are offered, of the transport's these. */
  start(transportFeatures: bigint = ALL_FEATURES): void {
    this.driver.reset();
    this.makeQueues();
    const own = this.driver.offeredFeatures() & (2n ** 24n - 1n);
    this.driver.start(own | transportFeatures, ...this.queues.map((queue) => queue.config()));
    assert((this.status & Status.DRIVER_OK) !== 0, `${this.target.name} can be started`);
  }

  kick(queue: number = this.target.queue): void {
    this.driver.notify(queue);
  }

  /** Returns when the device has done what it was told to. */
  settle(): void {
    let before = '';
    for (let barriers = 0; barriers < BARRIERS_MAX; barriers++) {
      this.#barrier();
      const now = `${this.status} ${this.queues.map(({ usedIndex }) => usedIndex)}`;
      if (now === before) return;
      before = now;
    }
    throw new Error(`${this.target.name} does not come to an end`);
  }

  #barrier(): void {
    for (let read = 0; read < BARRIER_READS; read++) this.driver.read(BAR.COMMON.offset, 1);
    if (this.guest.failures.length > 0) throw new Error(`no answer: ${this.guest.failures[0]}`);
  }

  /** A chain of these descriptors from the first on, made available. */
  offer(...descriptors: readonly RawDescriptor[]): this {
    for (const [index, descriptor] of descriptors.entries()) this.queue.writeDescriptor(index, descriptor);
    this.queue.makeAvailable(0);
    return this;
  }

  /** An indirect table at an address of its own, as the only descriptor of a chain. */
  offerTable(table: readonly RawDescriptor[], changes: Partial<RawDescriptor> = {}): this {
    for (const [index, entry] of table.entries()) this.queue.writeDescriptorAt(FREE_RAM + 16 * index, entry);
    return this.offer({ address: FREE_RAM, length: 16 * table.length, flags: DescriptorFlag.INDIRECT, ...changes });
  }

  /** What comes of what was offered. */
  outcome(): string {
    this.kick();
    this.settle();
    if ((this.status & Status.NEEDS_RESET) !== 0) return 'NEEDS_RESET';
    return this.queues.some(({ usedIndex }) => usedIndex > 0) ? 'answered' : 'ignored';
  }

  /** Sends a chain and returns it when it has come back; undefined when it has not. */
  exchange(buffers: readonly MockBuffer[]): MockChain | undefined {
    const chain = this.queue.add(...buffers);
    this.kick();
    this.settle();
    return this.queue.takeUsed()?.head === chain.head ? chain : undefined;
  }

  /** Whether a good request is answered, in the life that the device has. */
  works(): boolean {
    const { target, queue } = this;
    this.settle();
    while (queue.takeUsed() !== undefined);
    const chain = queue.add(...target.request());
    this.kick();
    let used: UsedElement | undefined;
    // The host's side of a network may have no room for a time.
    for (let looks = 0; used === undefined && looks < BARRIERS_MAX; looks++) {
      this.#barrier();
      used = queue.takeUsed();
    }
    return used?.head === chain.head && (target.isGood?.(this.memory, chain, used) ?? true);
  }
}

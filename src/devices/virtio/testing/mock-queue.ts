/** The driver's side of a split virtqueue, for tests, fuzzers and benches: it can be as wrong as a test wants. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import { alignUp } from '#util/bits.ts';
import { defaultQueueConfig, type QueueConfig } from '../queue/queue-config.ts';
import {
  ALIGNMENT,
  AVAILABLE,
  availableEventOffset,
  availableRingBytes,
  DESCRIPTOR,
  DescriptorFlag,
  descriptorTableBytes,
  USED,
  usedEventOffset,
  usedRingBytes,
} from '../queue/ring-layout.ts';

/** A descriptor as it stands in memory. */
export interface RawDescriptor {
  readonly address: bigint | number;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}

/** A buffer of a chain: what the device reads, or how much it may write. */
export type MockBuffer = { readonly readable: Uint8Array } | { readonly writableBytes: number };

export interface MockChain {
  readonly head: number;
  /** Where each buffer lies. */
  readonly addresses: readonly number[];
}

export interface UsedElement {
  readonly head: number;
  readonly length: number;
}

export interface MockQueueOptions {
  readonly size: number;
  /** Where the parts of the queue begin; buffers follow them up to `end`, that of the region by default. */
  readonly start?: number;
  readonly end?: number;
}

const U16 = 0xffff;

export class MockQueue {
  readonly memory: GuestMemory;
  readonly size: number;
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
  /** Buffers lie from here on. */
  readonly buffersStart: number;
  readonly #end: number;
  #nextBuffer: number;
  #nextDescriptor = 0;
  #available = 0;
  #used = 0;

  constructor(memory: GuestMemory, { size, start = 0, end }: MockQueueOptions) {
    this.memory = memory;
    this.size = size;
    this.descriptorTable = alignUp(start, ALIGNMENT.DESCRIPTORS);
    this.availableRing = this.descriptorTable + descriptorTableBytes(size);
    this.usedRing = alignUp(this.availableRing + availableRingBytes(size), ALIGNMENT.USED);
    this.buffersStart = alignUp(this.usedRing + usedRingBytes(size), 4096);
    this.#end = end ?? regionEnd(memory, start);
    this.#nextBuffer = this.buffersStart;
  }

  config(changes: Partial<QueueConfig> = {}): QueueConfig {
    const { size, descriptorTable, availableRing, usedRing } = this;
    return { ...defaultQueueConfig(size), descriptorTable, availableRing, usedRing, vector: 0, ...changes };
  }

  /** Room for `sizeBytes`; from the beginning again when the end is reached. */
  allocate(sizeBytes: number): number {
    if (this.#nextBuffer + sizeBytes > this.#end) this.#nextBuffer = this.buffersStart;
    const address = this.#nextBuffer;
    this.#nextBuffer += sizeBytes;
    return address;
  }

  writeDescriptorAt(address: number, { address: buffer, length, flags = 0, next = 0 }: RawDescriptor): void {
    this.memory.writeU64(address, BigInt.asUintN(64, BigInt(buffer)));
    this.memory.writeU32(address + DESCRIPTOR.LENGTH, length);
    this.memory.writeU16(address + DESCRIPTOR.FLAGS, flags);
    this.memory.writeU16(address + DESCRIPTOR.NEXT, next);
  }

  writeDescriptor(index: number, descriptor: RawDescriptor): void {
    this.writeDescriptorAt(this.descriptorTable + index * DESCRIPTOR.SIZE_BYTES, descriptor);
  }

  /** Puts a head into the next place of the available ring, and shows it to the device unless told not to. */
  makeAvailable(head: number, publish = true): void {
    const slot = this.#available & (this.size - 1);
    this.memory.writeU16(this.availableRing + AVAILABLE.RING + slot * AVAILABLE.ENTRY_BYTES, head);
    this.#available = (this.#available + 1) & U16;
    if (publish) this.publish();
  }

  /** Shows the available index, or another one, to the device. */
  publish(index: number = this.#available): void {
    this.memory.writeU16(this.availableRing + AVAILABLE.INDEX, index);
  }

  /** A good chain, made available. */
  add(...buffers: readonly MockBuffer[]): MockChain {
    const first = this.#nextDescriptor;
    this.#nextDescriptor = (first + buffers.length) % this.size;
    const descriptors = buffers.map((buffer) => this.#place(buffer));
    descriptors.forEach((descriptor, at) => {
      const isLast = at === descriptors.length - 1;
      this.writeDescriptor((first + at) % this.size, {
        ...descriptor,
        flags: descriptor.flags | (isLast ? 0 : DescriptorFlag.NEXT),
        next: isLast ? 0 : (first + at + 1) % this.size,
      });
    });
    this.makeAvailable(first);
    return { head: first, addresses: descriptors.map(({ address }) => address) };
  }

  /** A good chain in an indirect table, made available. */
  addIndirect(...buffers: readonly MockBuffer[]): MockChain {
    const descriptors = buffers.map((buffer) => this.#place(buffer));
    const length = buffers.length * DESCRIPTOR.SIZE_BYTES;
    const table = this.allocate(length);
    descriptors.forEach((descriptor, at) => {
      const isLast = at === descriptors.length - 1;
      const flags = descriptor.flags | (isLast ? 0 : DescriptorFlag.NEXT);
      this.writeDescriptorAt(table + at * DESCRIPTOR.SIZE_BYTES, { ...descriptor, flags, next: isLast ? 0 : at + 1 });
    });
    const head = this.#nextDescriptor;
    this.#nextDescriptor = (head + 1) % this.size;
    this.writeDescriptor(head, { address: table, length, flags: DescriptorFlag.INDIRECT });
    this.makeAvailable(head);
    return { head, addresses: descriptors.map(({ address }) => address) };
  }

  get usedIndex(): number {
    return this.memory.readU16(this.usedRing + USED.INDEX);
  }

  /** The next chain that the device gave back. */
  takeUsed(): UsedElement | undefined {
    if (this.usedIndex === this.#used) return undefined;
    const entry = this.usedRing + USED.RING + (this.#used & (this.size - 1)) * USED.ENTRY_BYTES;
    this.#used = (this.#used + 1) & U16;
    return { head: this.memory.readU32(entry), length: this.memory.readU32(entry + USED.LENGTH) };
  }

  set usedEvent(index: number) {
    this.memory.writeU16(this.availableRing + usedEventOffset(this.size), index);
  }

  get availableEvent(): number {
    return this.memory.readU16(this.usedRing + availableEventOffset(this.size));
  }

  set availableFlags(flags: number) {
    this.memory.writeU16(this.availableRing + AVAILABLE.FLAGS, flags);
  }

  bytes(address: number, sizeBytes: number): Uint8Array {
    const copy = new Uint8Array(sizeBytes);
    this.memory.readBytes(address, copy);
    return copy;
  }

  #place(buffer: MockBuffer): { address: number; length: number; flags: number } {
    if ('readable' in buffer) {
      const address = this.allocate(buffer.readable.length);
      this.memory.writeBytes(address, buffer.readable);
      return { address, length: buffer.readable.length, flags: 0 };
    }
    return { address: this.allocate(buffer.writableBytes), length: buffer.writableBytes, flags: DescriptorFlag.WRITE };
  }
}

function regionEnd(memory: GuestMemory, address: number): number {
  const region = memory.regions.find((each) => address - each.guestAddress < each.sizeBytes);
  return region === undefined ? memory.endAddress : region.guestAddress + region.sizeBytes;
}

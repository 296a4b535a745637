import type { GuestMemory } from '#memory/guest-memory.ts';
import type { VolatileSlice } from '#memory/volatile-slice.ts';
import { assert } from '#util/assert.ts';
import { Feature } from '../constants.ts';
import { DescriptorChain, INDIRECT_CHAIN_MAX } from './descriptor-chain.ts';
import { configFault, type QueueConfig } from './queue-config.ts';
import type { QueueFault } from './queue-fault.ts';
import {
  AVAILABLE,
  availableEventOffset,
  availableRingBytes,
  DESCRIPTOR,
  DESCRIPTOR_FLAGS,
  DescriptorFlag,
  descriptorTableBytes,
  USED,
  usedEventOffset,
  usedRingBytes,
} from './ring-layout.ts';

const U16 = 0xffff;
const U32_MAX = 2 ** 32 - 1;

/**
 * The device's side of a split virtqueue, VIRTIO 1.1 §2.6. `pop` takes the next chain, `addUsed` gives it back, and
 * `needsInterrupt` says whether the driver wants to hear of it. What the driver does never throws: a chain that makes no sense
 * sets `fault`, is not taken, and stops the queue until the device is reset.
 *
 * Ring indices and event fields are read and written with Atomics: JavaScript's are sequentially consistent, so an index is
 * seen after the entry it publishes, and an event field is written before the index that is then looked at again.
 */
export class Queue {
  readonly size: number;
  /** Of the configuration, where the transport changes it when the driver does. */
  readonly #config: Pick<QueueConfig, 'vector'>;
  readonly #memory: GuestMemory;
  readonly #ram: VolatileSlice;
  readonly #available: VolatileSlice;
  readonly #used: VolatileSlice;
  readonly #tableOffset: number;
  readonly #hasEventIndex: boolean;
  readonly #hasIndirect: boolean;
  /** 16-bit counters that wrap, as in the rings. */
  #nextAvailable = 0;
  #nextUsed = 0;
  #signalledUsed = 0;
  /** Chains given back since the driver was told: 16 bits would not show 65536 of them. */
  #unsignalled = 0;
  #fault: QueueFault | undefined;

  /** `config` has been found good by `configFault`; `features` are those of the negotiation. */
  constructor(memory: GuestMemory, config: Readonly<QueueConfig>, features: bigint) {
    assert(configFault(memory, config) === undefined, 'a queue that was checked');
    const { size } = config;
    this.size = size;
    this.#config = config;
    this.#memory = memory;
    this.#ram = memory.whole;
    this.#tableOffset = memory.offsetOf(config.descriptorTable, descriptorTableBytes(size));
    this.#available = memory.slice(config.availableRing, availableRingBytes(size));
    this.#used = memory.slice(config.usedRing, usedRingBytes(size));
    this.#hasEventIndex = (features & Feature.RING_EVENT_IDX) !== 0n;
    this.#hasIndirect = (features & Feature.RING_INDIRECT_DESC) !== 0n;
  }

  /** For Interrupt.signalUsedQueue. */
  get vector(): number {
    return this.#config.vector;
  }

  /** The place in the available ring, modulo 2^16, of the next chain: at a fault, of the chain that has it. */
  get nextAvailable(): number {
    return this.#nextAvailable;
  }

  /** Why the queue has stopped. */
  get fault(): QueueFault | undefined {
    return this.#fault;
  }

  /** A chain object that every chain of this queue fits into. */
  createChain(): DescriptorChain {
    return new DescriptorChain(this.#ram, Math.max(this.size, this.#hasIndirect ? INDIRECT_CHAIN_MAX : 0));
  }

  /**
   * Takes the next chain into `chain`. False when there is none, and the driver will then kick at the next one, or when the
   * queue has a fault: the chain stays at the front of the available ring.
   */
  pop(chain: DescriptorChain): boolean {
    if (this.#fault !== undefined || !this.#hasAvailable()) return false;
    const slot = this.#nextAvailable & (this.size - 1);
    const head = this.#available.loadU16(AVAILABLE.RING + slot * AVAILABLE.ENTRY_BYTES);
    const fault = this.#load(chain, head);
    if (fault !== undefined) {
      this.#fault = fault;
      return false;
    }
    this.#nextAvailable = (this.#nextAvailable + 1) & U16;
    return true;
  }

  /** Puts the chains that `pop` has just given, one by default, back to the front: for a device that has nothing for them yet. */
  undoPop(count = 1): void {
    this.#nextAvailable = (this.#nextAvailable - count) & U16;
  }

  /** Stops the queue at a request that the device itself can make no sense of; the chain was taken and is put back. */
  fail(fault: QueueFault): void {
    this.undoPop();
    this.#fault = fault;
  }

  /** Gives a chain back to the driver, `writtenBytes` of whose writable buffers have been written from the first on. */
  addUsed(head: number, writtenBytes: number): void {
    this.stageUsed(head, writtenBytes);
    this.publishUsed();
  }

  /** As `addUsed`, but the driver does not see it before `publishUsed`: for chains that it has to see together. */
  stageUsed(head: number, writtenBytes: number): void {
    const entry = USED.RING + (this.#nextUsed & (this.size - 1)) * USED.ENTRY_BYTES;
    this.#used.writeU32(entry, head);
    this.#used.writeU32(entry + USED.LENGTH, writtenBytes);
    this.#nextUsed = (this.#nextUsed + 1) & U16;
    this.#unsignalled += 1;
  }

  publishUsed(): void {
    this.#used.storeU16(USED.INDEX, this.#nextUsed);
  }

  /** True when the driver is to be told of what was given back since the last call, §2.6.7.2. */
  needsInterrupt(): boolean {
    const count = this.#unsignalled;
    if (count === 0) return false;
    const before = this.#signalledUsed;
    this.#unsignalled = 0;
    this.#signalledUsed = this.#nextUsed;
    if (!this.#hasEventIndex) return (this.#available.loadU16(AVAILABLE.FLAGS) & AVAILABLE.NO_INTERRUPT) === 0;
    const event = this.#available.loadU16(usedEventOffset(this.size));
    return count > U16 || ((this.#nextUsed - event - 1) & U16) < ((this.#nextUsed - before) & U16);
  }

  /** Looks at the available index; when nothing is there, asks the driver for a kick and looks once more. */
  #hasAvailable(): boolean {
    let index = this.#available.loadU16(AVAILABLE.INDEX);
    if (index === this.#nextAvailable) {
      if (!this.#hasEventIndex) return false;
      this.#used.storeU16(availableEventOffset(this.size), this.#nextAvailable);
      // The driver may have added a chain and looked at the old event: without this look its kick would be missed.
      index = this.#available.loadU16(AVAILABLE.INDEX);
      if (index === this.#nextAvailable) return false;
    }
    if (((index - this.#nextAvailable) & U16) <= this.size) return true;
    this.#fault = 'TOO_MANY_AVAILABLE';
    return false;
  }

  #load(chain: DescriptorChain, head: number): QueueFault | undefined {
    chain.begin(head);
    if (head >= this.size) return 'HEAD_OUT_OF_RANGE';
    const ram = this.#ram;
    let index = head;
    // A chain that loops comes to its capacity.
    for (;;) {
      // Each field is read once, here; what is judged is what is used.
      const at = this.#tableOffset + index * DESCRIPTOR.SIZE_BYTES;
      const address = ram.readU32(at) + ram.readU32(at + 4) * 2 ** 32;
      const length = ram.readU32(at + DESCRIPTOR.LENGTH);
      const flagsAndNext = ram.readU32(at + DESCRIPTOR.FLAGS);
      const flags = flagsAndNext & U16;
      if ((flags & DescriptorFlag.INDIRECT) !== 0) return this.#loadIndirect(chain, address, length, flags);
      const fault = this.#append(chain, address, length, flags);
      if (fault !== undefined) return fault;
      if ((flags & DescriptorFlag.NEXT) === 0) return undefined;
      index = flagsAndNext >>> 16;
      if (index >= this.size) return 'NEXT_OUT_OF_RANGE';
    }
  }

  /** The table that ends a chain, §2.6.5.3. Its descriptor's WRITE flag is ignored, as that section asks. */
  #loadIndirect(chain: DescriptorChain, address: number, length: number, flags: number): QueueFault | undefined {
    if (!this.#hasIndirect) return 'INDIRECT_NOT_NEGOTIATED';
    if ((flags & ~DESCRIPTOR_FLAGS) !== 0) return 'UNKNOWN_FLAGS';
    if ((flags & DescriptorFlag.NEXT) !== 0) return 'INDIRECT_CONTINUED';
    if (length === 0 || length % DESCRIPTOR.SIZE_BYTES !== 0) return 'INDIRECT_BAD_LENGTH';
    const table = this.#memory.offsetOf(address, length);
    if (table < 0) return 'BUFFER_OUTSIDE_MEMORY';
    const size = length / DESCRIPTOR.SIZE_BYTES;
    const ram = this.#ram;
    let index = 0;
    for (;;) {
      const at = table + index * DESCRIPTOR.SIZE_BYTES;
      const bufferAddress = ram.readU32(at) + ram.readU32(at + 4) * 2 ** 32;
      const bufferLength = ram.readU32(at + DESCRIPTOR.LENGTH);
      const flagsAndNext = ram.readU32(at + DESCRIPTOR.FLAGS);
      const bufferFlags = flagsAndNext & U16;
      if ((bufferFlags & DescriptorFlag.INDIRECT) !== 0) return 'INDIRECT_NESTED';
      const fault = this.#append(chain, bufferAddress, bufferLength, bufferFlags);
      if (fault !== undefined) return fault;
      if ((bufferFlags & DescriptorFlag.NEXT) === 0) return undefined;
      index = flagsAndNext >>> 16;
      if (index >= size) return 'NEXT_OUT_OF_RANGE';
    }
  }

  #append(chain: DescriptorChain, address: number, length: number, flags: number): QueueFault | undefined {
    if ((flags & ~DESCRIPTOR_FLAGS) !== 0) return 'UNKNOWN_FLAGS';
    if (length === 0) return 'EMPTY_BUFFER';
    const count = chain.count;
    if (count === chain.capacity) return 'CHAIN_TOO_LONG';
    const offset = this.#memory.offsetOf(address, length);
    if (offset < 0) return 'BUFFER_OUTSIDE_MEMORY';
    chain.offsets[count] = offset;
    chain.sizes[count] = length;
    chain.count = count + 1;
    if ((flags & DescriptorFlag.WRITE) !== 0) {
      chain.writableBytes += length;
    } else {
      if (count !== chain.readableCount) return 'READABLE_AFTER_WRITABLE';
      chain.readableCount = count + 1;
      chain.readableBytes += length;
    }
    // The used ring counts in 32 bits.
    return chain.readableBytes + chain.writableBytes > U32_MAX ? 'TOO_MANY_BYTES' : undefined;
  }
}

/**
 * Memory regions besides RAM, for processors that each have a WebAssembly memory of their own. The main thread keeps the list in
 * shared memory; each vCPU's thread maps what is in it over its own memory when it next looks: before it runs, and before it takes
 * an address for a device's. So adding needs nobody's answer. Removing waits until every processor has let go: one that does not
 * run guest code has, since it looks before it goes on. A processor that waits for a device counts as one of these: that device
 * may be who asks.
 */
import type { MappedRegion } from '#cpu/address-map.ts';
import type { MemoryUnit } from '#cpu/memory-unit.ts';
import { overlayFile, removeOverlay } from '#memory/wasm-overlay.ts';
import { AddressAllocator, type Range } from '#resources/address-allocator.ts';
import { ResourceError } from '#resources/resource-error.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { isAligned, isSize } from '#util/bits.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import { loadNumber, storeNumber } from '#util/state-words.ts';
import { type MemoryRegion, MemoryRegionError } from '../memory-region.ts';

/** Regions at a time. */
const SLOTS_MAX = 64;
/** A processor looks up from guest code within a millisecond; far more than that is a thread that has died. */
const LET_GO_LIMIT_MS = 1000;

/** Words. GENERATION counts the changes, from 1 on. */
const STATE = { MUTEX: 0, GENERATION: 1, SLOTS: 2 } as const;
/** Of a slot; numbers take two words. CREATED is the generation that it came with, 0 while it is free. */
const SLOT = { CREATED: 0, FD: 1, READ_ONLY: 2, START: 3, SIZE: 5, PLACE: 7, FILE_OFFSET: 9, WORDS: 11 } as const;
/** One word for each processor: the generation under which it runs guest code, 0 while it does not. */
const RUNNING = STATE.SLOTS + SLOTS_MAX * SLOT.WORDS;
const OUTSIDE = 0;

export const regionStateWords = (vcpuCount: number): number => RUNNING + vcpuCount;

interface Held {
  readonly fd: Fd;
  readonly place: Range;
}

export interface MemoryRegionsOptions {
  readonly ramSizeBytes: number;
  /** What regions may take in all. */
  readonly roomBytes: number;
  readonly vcpuCount: number;
  /** How long a removal waits for each processor; by default 1000. */
  readonly letGoLimitMs?: number;
}

/** The main thread's side. */
export class MemoryRegions implements Disposable {
  readonly #state: Int32Array;
  readonly #mutex: SharedMutex;
  readonly #options: MemoryRegionsOptions;
  readonly #places: AddressAllocator;
  readonly #held = new Map<number, Held>();
  /** Descriptors that a processor which did not let go may still use. */
  readonly #stuck: Fd[] = [];

  /** `state`: `regionStateWords` of shared memory, zeroed. */
  constructor(state: Int32Array, options: MemoryRegionsOptions) {
    this.#state = state;
    this.#options = options;
    this.#mutex = new SharedMutex(state, STATE.MUTEX);
    this.#places = new AddressAllocator('memory regions', {
      start: options.ramSizeBytes,
      sizeBytes: options.roomBytes,
    });
    Atomics.store(state, STATE.GENERATION, 1);
  }

  /** The guest has the region from its next look on. Returns its slot. Throws MemoryRegionError (NO_ROOM), SyscallError. */
  add(region: MemoryRegion): number {
    const { guestAddress, sizeBytes, fileOffset } = region;
    const numbers = [guestAddress, sizeBytes, fileOffset];
    assert(numbers.every((each) => isSize(each) && isAligned(each, PAGE_SIZE_BYTES)) && sizeBytes > 0, 'whole pages');
    assert(guestAddress >= this.#options.ramSizeBytes, 'a region lies outside RAM');
    const slot = Array.from({ length: SLOTS_MAX }, (_, index) => index).find((index) => !this.#held.has(index));
    if (slot === undefined) throw new MemoryRegionError('NO_ROOM', `all ${SLOTS_MAX} memory slots are taken`);
    const place = this.#allocatePlace(sizeBytes);
    const fd = new Fd(dup(region.fd));
    this.#held.set(slot, { fd, place });
    this.#mutex.run(() => this.#write(slot, region, { fd: fd.fd, place: place.start }));
    return slot;
  }

  /** When it returns, no processor reaches the region any more. Throws MemoryRegionError (BUSY). */
  remove(slot: number): void {
    const held = this.#held.get(slot);
    assert(held !== undefined, 'a slot that is taken');
    const generation = this.#mutex.run(() => {
      const next = Atomics.load(this.#state, STATE.GENERATION) + 1;
      this.#state[slotIndex(slot) + SLOT.CREATED] = 0;
      Atomics.store(this.#state, STATE.GENERATION, next);
      return next;
    });
    this.#held.delete(slot);
    for (let vcpu = 0; vcpu < this.#options.vcpuCount; vcpu++) {
      if (this.#letsGo(vcpu, generation)) continue;
      this.#stuck.push(held.fd);
      throw new MemoryRegionError('BUSY', `vCPU ${vcpu} still uses the memory after ${this.#letGoLimitMs} ms`);
    }
    held.fd.close();
    this.#places.release(held.place);
  }

  /** For after the end of the vCPU threads. */
  [Symbol.dispose](): void {
    for (const { fd } of this.#held.values()) fd.close();
    for (const fd of this.#stuck) fd.close();
    this.#held.clear();
    this.#stuck.length = 0;
  }

  #allocatePlace(sizeBytes: number): Range {
    try {
      return this.#places.allocate({ sizeBytes, alignment: PAGE_SIZE_BYTES, tag: 'a region' });
    } catch (error) {
      if (!(error instanceof ResourceError)) throw error;
      throw new MemoryRegionError('NO_ROOM', error.message, { cause: error });
    }
  }

  /** With the lock held. */
  #write(slot: number, region: MemoryRegion, { fd, place }: { fd: number; place: number }): void {
    const state = this.#state;
    const at = slotIndex(slot);
    const generation = Atomics.load(state, STATE.GENERATION) + 1;
    state[at + SLOT.CREATED] = generation;
    state[at + SLOT.FD] = fd;
    state[at + SLOT.READ_ONLY] = region.readOnly ? 1 : 0;
    storeNumber(state, at + SLOT.START, region.guestAddress);
    storeNumber(state, at + SLOT.SIZE, region.sizeBytes);
    storeNumber(state, at + SLOT.PLACE, place);
    storeNumber(state, at + SLOT.FILE_OFFSET, region.fileOffset);
    Atomics.store(state, STATE.GENERATION, generation);
  }

  get #letGoLimitMs(): number {
    return this.#options.letGoLimitMs ?? LET_GO_LIMIT_MS;
  }

  #letsGo(vcpu: number, generation: number): boolean {
    for (;;) {
      const running = Atomics.load(this.#state, RUNNING + vcpu);
      if (running === OUTSIDE || running >= generation) return true;
      if (Atomics.wait(this.#state, RUNNING + vcpu, running, this.#letGoLimitMs) === 'timed-out') return false;
    }
  }
}

interface Followed extends MappedRegion {
  readonly created: number;
}

export interface RegionFollowerOptions {
  readonly vcpuIndex: number;
  /** The processor's own, with room for all regions. */
  readonly memory: WebAssembly.Memory;
  /** Where RAM begins in it. */
  readonly ramBase: number;
  readonly mmu: MemoryUnit;
}

/** A vCPU thread's side. */
export class RegionFollower {
  readonly #state: Int32Array;
  readonly #mutex: SharedMutex;
  readonly #options: RegionFollowerOptions;
  readonly #running: number;
  #applied = 0;
  #isInside = false;
  #regions: readonly Followed[] = [];

  constructor(state: Int32Array, options: RegionFollowerOptions) {
    this.#state = state;
    this.#mutex = new SharedMutex(state, STATE.MUTEX);
    this.#options = options;
    this.#running = RUNNING + options.vcpuIndex;
    options.mmu.map.beforeLookup = () => this.#follow();
  }

  /** Guest code runs from now on. Throws SyscallError when a region cannot be mapped. */
  enter(): void {
    this.#isInside = true;
    do {
      this.#follow();
      Atomics.store(this.#state, this.#running, this.#applied);
    } while (Atomics.load(this.#state, STATE.GENERATION) !== this.#applied);
  }

  /** No guest code runs until the next `enter`. */
  leave(): void {
    this.#isInside = false;
    Atomics.store(this.#state, this.#running, OUTSIDE);
    if (Atomics.load(this.#state, STATE.GENERATION) !== this.#applied) Atomics.notify(this.#state, this.#running);
  }

  #follow(): void {
    if (Atomics.load(this.#state, STATE.GENERATION) === this.#applied) return;
    // A descriptor of the list stays open as long as nobody else holds the lock.
    const gone = this.#mutex.run(() => this.#mapNew());
    this.#options.mmu.setRegions(this.#regions, gone);
    if (!this.#isInside) return;
    // An instruction that is under way keeps nothing of what is gone but, at worst, the place where zeros are now.
    Atomics.store(this.#state, this.#running, this.#applied);
    Atomics.notify(this.#state, this.#running);
  }

  /** Those that are no longer in the list. */
  #mapNew(): readonly Followed[] {
    this.#applied = Atomics.load(this.#state, STATE.GENERATION);
    const before = this.#regions;
    const regions = Array.from({ length: SLOTS_MAX }, (_, slot) => this.#read(slotIndex(slot))).filter(
      (region) => region !== undefined,
    );
    const isIn = (list: readonly Followed[], { created }: Followed): boolean =>
      list.some((other) => other.created === created);
    const gone = before.filter((region) => !isIn(regions, region));
    const { memory, ramBase } = this.#options;
    for (const region of gone) removeOverlay(memory, ramBase + region.place, region.sizeBytes);
    for (const region of regions.filter((each) => !isIn(before, each))) this.#map(region);
    this.#regions = regions;
    return gone;
  }

  #read(at: number): (Followed & { readonly at: number }) | undefined {
    const state = this.#state;
    const created = state[at + SLOT.CREATED]!;
    if (created === 0) return undefined;
    return {
      at,
      created,
      start: loadNumber(state, at + SLOT.START),
      sizeBytes: loadNumber(state, at + SLOT.SIZE),
      place: loadNumber(state, at + SLOT.PLACE),
      isReadOnly: state[at + SLOT.READ_ONLY] === 1,
    };
  }

  #map({ at, place, sizeBytes, isReadOnly }: Followed & { readonly at: number }): void {
    const { memory, ramBase } = this.#options;
    const fileOffset = loadNumber(this.#state, at + SLOT.FILE_OFFSET);
    overlayFile(memory, ramBase + place, { fd: this.#state[at + SLOT.FD]!, fileOffset, sizeBytes, isReadOnly });
  }
}

function slotIndex(slot: number): number {
  return STATE.SLOTS + slot * SLOT.WORDS;
}

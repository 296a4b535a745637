import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RAM_BASE } from '#cpu/layout.ts';
import { CODE_START, createTestMachine, RAM_SIZE_BYTES } from '#cpu/testing.ts';
import type { MemoryMapping } from '#memory/memory-mapping.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { viewOf } from '#util/struct.ts';
import { MemoryRegions, RegionFollower, regionStateWords } from './memory-regions.ts';

const PAGE = 4096;
const ROOM_BYTES = 16 * PAGE;
/** Identity-mapped by the test's page tables, outside RAM. */
const ADDRESS = 0x1000_0000;
const RAX = 0;
const RBX = 3;
const NOBODY = 0xffff_ffffn;

/** Both sides in one thread. The guest reads what RBX points to, and writes one more to it. */
class Sides implements Disposable {
  readonly #owned = new DisposableStack();
  readonly regions: MemoryRegions;
  readonly follower: RegionFollower;
  /** mov eax,[rbx]; inc dword [rbx]; hlt. */
  readonly machine = createTestMachine('8b03 ff03 f4', { regionRoomBytes: ROOM_BYTES });

  constructor() {
    const state = new Int32Array(new SharedArrayBuffer(regionStateWords(2) * Int32Array.BYTES_PER_ELEMENT));
    const options = { ramSizeBytes: RAM_SIZE_BYTES, roomBytes: ROOM_BYTES, vcpuCount: 2, letGoLimitMs: 1 };
    this.regions = this.#owned.use(new MemoryRegions(state, options));
    const { mmu, options: cpu } = this.machine.cpu;
    this.follower = new RegionFollower(state, { vcpuIndex: 1, memory: cpu.memory, ramBase: RAM_BASE, mmu });
  }

  /** Pages whose words each are `value` plus the page's number. */
  file(value: number, pages = 2): { readonly file: SharedMemory; readonly mapping: MemoryMapping } {
    const file = this.#owned.use(SharedMemory.create('region', pages * PAGE));
    const mapping = this.#owned.use(file.map());
    for (let page = 0; page < pages; page++)
      new Uint32Array(mapping.bytes.buffer, page * PAGE, PAGE / 4).fill(value + page);
    return { file, mapping };
  }

  /** What the guest reads there; it runs alone for that. */
  read(address: number): bigint {
    const { cpu } = this.machine;
    this.follower.enter();
    cpu.halted = false;
    cpu.setRip(CODE_START, 0);
    this.machine.setRegister(RBX, BigInt(address));
    assert.deepEqual(cpu.run(1000), { reason: 'halt' });
    this.follower.leave();
    return this.machine.register(RAX);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

const region = (fd: number, more: object = {}) => {
  return { guestAddress: ADDRESS, sizeBytes: 2 * PAGE, fd, fileOffset: 0, readOnly: false, ...more };
};

describe('memory regions', () => {
  test('are a file’s bytes, both ways, also after the caller has closed it', () => {
    using sides = new Sides();
    const { file, mapping } = sides.file(5);
    sides.regions.add(region(file.fd));
    file.close();
    assert.deepEqual([sides.read(ADDRESS), sides.read(ADDRESS + PAGE)], [5n, 6n]);
    assert.equal(viewOf(mapping.bytes).getUint32(0, true), 6, 'what the guest wrote is in the file');
    assert.equal(sides.read(ADDRESS + 2 * PAGE), NOBODY);
  });

  test('begin where they are to in the file', () => {
    using sides = new Sides();
    sides.regions.add(region(sides.file(5).file.fd, { fileOffset: PAGE, sizeBytes: PAGE }));
    assert.equal(sides.read(ADDRESS), 6n);
  });

  test('for reading take no write, and need no right to write', () => {
    using sides = new Sides();
    const { file, mapping } = sides.file(5);
    using readOnly = Fd.open(`/proc/self/fd/${file.fd}`, OpenFlag.RDONLY);
    sides.regions.add(region(readOnly.fd, { readOnly: true }));
    assert.deepEqual([sides.read(ADDRESS), sides.read(ADDRESS)], [5n, 5n]);
    assert.equal(viewOf(mapping.bytes).getUint32(0, true), 5);
  });

  test('that are removed are nobody’s memory, and their slot and room are free again', () => {
    using sides = new Sides();
    const { file } = sides.file(5, 16);
    for (let round = 0; round < 3; round++) {
      const slot = sides.regions.add(region(file.fd, { sizeBytes: ROOM_BYTES }));
      assert.equal(slot, 0);
      assert.equal(sides.read(ADDRESS), BigInt(5 + round));
      sides.regions.remove(slot);
      assert.equal(sides.read(ADDRESS), NOBODY);
    }
  });

  test('that follow each other while the processor does not look are told apart', () => {
    using sides = new Sides();
    const [first, second] = [sides.file(5).file, sides.file(50).file];
    const slot = sides.regions.add(region(first.fd));
    assert.equal(sides.read(ADDRESS), 5n);
    sides.regions.remove(slot);
    sides.regions.add(region(second.fd));
    assert.equal(sides.read(ADDRESS), 50n);
  });

  test('more than there is room for are refused, and what is there stays', () => {
    using sides = new Sides();
    const { file } = sides.file(5, 16);
    sides.regions.add(region(file.fd));
    const tooLarge = region(file.fd, { guestAddress: 2 * ADDRESS, sizeBytes: ROOM_BYTES });
    assert.throws(() => sides.regions.add(tooLarge), { code: 'NO_ROOM' });
    assert.equal(sides.read(ADDRESS), 5n);
  });

  test('more than there are slots are refused', () => {
    using state = new Sides();
    const words = new Int32Array(new SharedArrayBuffer(regionStateWords(1) * Int32Array.BYTES_PER_ELEMENT));
    using regions = new MemoryRegions(words, { ramSizeBytes: 0, roomBytes: 65 * PAGE, vcpuCount: 1 });
    const { file } = state.file(5);
    const add = (index: number): number =>
      regions.add(region(file.fd, { guestAddress: index * PAGE, sizeBytes: PAGE }));
    for (let index = 0; index < 64; index++) assert.equal(add(index), index);
    assert.throws(() => add(64), { code: 'NO_ROOM' });
  });

  test('a processor that does not let go keeps what it uses; others are refused nothing', () => {
    using sides = new Sides();
    const { file } = sides.file(5, 16);
    const slot = sides.regions.add(region(file.fd, { sizeBytes: 8 * PAGE }));
    sides.follower.enter();
    assert.throws(() => sides.regions.remove(slot), { code: 'BUSY', message: /vCPU 1 still uses the memory/ });
    assert.throws(() => sides.regions.add(region(file.fd, { sizeBytes: ROOM_BYTES })), { code: 'NO_ROOM' });
    sides.regions.add(region(file.fd, { sizeBytes: 8 * PAGE, fileOffset: PAGE }));
    sides.follower.leave();
    assert.equal(sides.read(ADDRESS), 6n);
  });

  test('a look in the midst of guest code lets go', () => {
    using sides = new Sides();
    const slot = sides.regions.add(region(sides.file(5).file.fd));
    sides.follower.enter();
    assert.throws(() => sides.regions.remove(slot), { code: 'BUSY' });
    sides.machine.cpu.mmu.map.beforeLookup();
    const next = sides.regions.add(region(sides.file(6).file.fd));
    sides.machine.cpu.mmu.map.beforeLookup();
    sides.follower.leave();
    sides.regions.remove(next);
  });
});

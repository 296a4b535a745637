import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MemoryRegion } from '#hypervisor/memory-region.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { Fd } from '#sys/fd.ts';
import { addSeals, ftruncate, memfdCreate, Seal } from '#sys/memory.ts';
import { CodedError } from '#util/errors.ts';
import { type MemoryHost, memoryHandlers } from './vm-memory.ts';

const PAGE = 4096;
const GRANT = { regionsMax: 2, bytesMax: 8 * PAGE };

/** A machine for several devices. */
class FakeHost implements MemoryHost {
  readonly regions = new Map<number, MemoryRegion>();
  readonly addresses = new Map<number, number>();
  full = false;
  isBusy = false;
  #next = 0;

  allocate(sizeBytes: number): number {
    const address = 0x1_0000_0000 + this.#next * 0x20_0000;
    this.addresses.set(address, sizeBytes);
    return address;
  }

  release(guestAddress: number, sizeBytes: number): void {
    assert.equal(this.addresses.get(guestAddress), sizeBytes);
    this.addresses.delete(guestAddress);
  }

  add(region: MemoryRegion): number {
    if (this.full) throw new CodedError('NO_ROOM', 'no slot');
    this.regions.set(this.#next, region);
    return this.#next++;
  }

  remove(slot: number): void {
    this.regions.delete(slot);
    if (this.isBusy) throw new CodedError('BUSY', 'in use');
  }
}

/** As it comes out of a message. */
function sealed(sizeBytes = 2 * PAGE): Fd {
  return new Fd(SharedMemory.create('test', sizeBytes).release());
}

function unsealed(seals: number): Fd {
  const fd = new Fd(memfdCreate('test'));
  ftruncate(fd.fd, 2 * PAGE);
  addSeals(fd.fd, seals);
  return fd;
}

const asked = (memfd: Fd, more: object = {}) => ({ memfd, sizeBytes: 2 * PAGE, readOnly: false, ...more });

describe('memory of a device among the guest’s addresses', () => {
  test('is registered as it is asked for, and the descriptor is closed', () => {
    const host = new FakeHost();
    const handlers = memoryHandlers(host, GRANT);
    const memfd = sealed();
    const { fd } = memfd;
    assert.deepEqual(handlers.registerMemory(asked(memfd)), { guestAddress: 0x1_0000_0000, slot: 0 });
    const region = { guestAddress: 0x1_0000_0000, sizeBytes: 2 * PAGE, fd, fileOffset: 0, readOnly: false };
    assert.deepEqual([...host.regions], [[0, region]]);
    assert.equal(memfd.isOpen, false);
    handlers.unregisterMemory({ slot: 0 });
    assert.deepEqual([host.regions.size, host.addresses.size], [0, 0]);
  });

  test('of another device, of nobody, and what is gone already cannot be unregistered', () => {
    const host = new FakeHost();
    const [first, second] = [memoryHandlers(host, GRANT), memoryHandlers(host, GRANT)];
    first.registerMemory(asked(sealed()));
    second.registerMemory(asked(sealed()));
    for (const slot of [0, 2, 99]) assert.throws(() => second.unregisterMemory({ slot }), { code: 'NOT_YOURS' });
    second.unregisterMemory({ slot: 1 });
    assert.throws(() => second.unregisterMemory({ slot: 1 }), { code: 'NOT_YOURS' });
    assert.deepEqual([...host.regions.keys()], [0]);
  });

  for (const { what, memfd, more } of [
    { what: 'that can shrink', memfd: () => unsealed(Seal.GROW | Seal.SEAL), more: {} },
    { what: 'that can be sealed further', memfd: () => unsealed(Seal.SHRINK), more: {} },
    { what: 'that is smaller', memfd: () => sealed(PAGE), more: {} },
    { what: 'that cannot be written', memfd: () => unsealed(Seal.SHRINK | Seal.WRITE | Seal.SEAL), more: {} },
    { what: 'that is no memfd', memfd: () => Fd.open('/dev/zero'), more: {} },
    { what: 'of no bytes', memfd: sealed, more: { sizeBytes: 0 } },
    { what: 'of part of a page', memfd: sealed, more: { sizeBytes: PAGE + 1 } },
  ]) {
    test(`${what} is refused`, () => {
      const host = new FakeHost();
      using fd = memfd();
      const handlers = memoryHandlers(host, GRANT);
      assert.throws(() => handlers.registerMemory(asked(fd, more)), { code: 'BAD_MEMORY' });
      assert.deepEqual([host.regions.size, host.addresses.size, fd.isOpen], [0, 0, true]);
    });
  }

  test('that cannot be written is taken for reading', () => {
    const host = new FakeHost();
    const memfd = unsealed(Seal.SHRINK | Seal.WRITE | Seal.SEAL);
    memoryHandlers(host, GRANT).registerMemory(asked(memfd, { readOnly: true }));
    assert.equal(host.regions.get(0)?.readOnly, true);
  });

  test('is limited in number and in all, and what is given back counts no more', () => {
    const handlers = memoryHandlers(new FakeHost(), GRANT);
    using spare = sealed(16 * PAGE);
    assert.throws(() => handlers.registerMemory(asked(spare, { sizeBytes: 9 * PAGE })), { code: 'TOO_MUCH' });
    handlers.registerMemory(asked(sealed(7 * PAGE), { sizeBytes: 7 * PAGE }));
    assert.throws(() => handlers.registerMemory(asked(spare)), { code: 'TOO_MUCH' });
    handlers.registerMemory(asked(sealed(), { sizeBytes: PAGE }));
    assert.throws(() => handlers.registerMemory(asked(spare, { sizeBytes: PAGE })), { code: 'TOO_MUCH' });
    handlers.unregisterMemory({ slot: 0 });
    handlers.registerMemory(asked(spare));
  });

  test('that the machine has no room for leaves nothing behind', () => {
    const host = new FakeHost();
    host.full = true;
    using memfd = sealed();
    assert.throws(() => memoryHandlers(host, GRANT).registerMemory(asked(memfd)), { code: 'NO_ROOM' });
    assert.deepEqual([host.addresses.size, memfd.isOpen], [0, true]);
  });

  test('that a processor does not let go keeps its addresses, and is not the device’s any more', () => {
    const host = new FakeHost();
    const handlers = memoryHandlers(host, GRANT);
    handlers.registerMemory(asked(sealed()));
    host.isBusy = true;
    assert.throws(() => handlers.unregisterMemory({ slot: 0 }), { code: 'BUSY' });
    assert.equal(host.addresses.size, 1);
    assert.throws(() => handlers.unregisterMemory({ slot: 0 }), { code: 'NOT_YOURS' });
  });
});

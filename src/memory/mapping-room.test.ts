import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { addressOf } from '#sys/ffi.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { GuestMemory } from './guest-memory.ts';
import { MappingRoom } from './mapping-room.ts';
import { MemoryMapping } from './memory-mapping.ts';
import { SharedMemory } from './shared-memory.ts';

describe('a room for a mapping', () => {
  test('a file is mapped there, over the same buffer', () => {
    const room = MappingRoom.reserve(2 * PAGE_SIZE_BYTES);
    using memory = SharedMemory.create('room', 2 * PAGE_SIZE_BYTES);
    using other = MemoryMapping.fromFd({ fd: memory.fd, sizeBytes: memory.sizeBytes });
    other.bytes[5] = 7;
    const mapping = MemoryMapping.fromFd({ fd: memory.fd, sizeBytes: memory.sizeBytes, room });
    assert.equal(mapping.address, room.address);
    assert.equal(mapping.bytes.buffer, room.buffer);
    assert.equal(mapping.bytes[5], 7);
    mapping.bytes[PAGE_SIZE_BYTES] = 9;
    assert.equal(other.bytes[PAGE_SIZE_BYTES], 9);
    mapping.close();
    assert.equal(room.buffer.byteLength, 0);
  });

  test('one of another size is left alone', () => {
    const room = MappingRoom.reserve(PAGE_SIZE_BYTES);
    using memory = SharedMemory.create('room', 2 * PAGE_SIZE_BYTES);
    using mapping = MemoryMapping.fromFd({ fd: memory.fd, sizeBytes: memory.sizeBytes, room });
    assert.notEqual(mapping.address, room.address);
    assert.equal(mapping.bytes.length, 2 * PAGE_SIZE_BYTES);
    assert.equal(room.buffer.byteLength, PAGE_SIZE_BYTES);
  });

  test("the guest's memory may lie there", () => {
    using original = GuestMemory.create([{ start: 0, sizeBytes: 4 * PAGE_SIZE_BYTES }]);
    const room = MappingRoom.reserve(4 * PAGE_SIZE_BYTES);
    using memory = GuestMemory.borrowing(original.fd, original.regions, room);
    original.writeU64(8, 0x1234n);
    assert.equal(memory.readU64(8), 0x1234n);
    assert.equal(addressOf(room.buffer), room.address);
  });
});

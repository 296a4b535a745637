import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { GuestMemoryError, VolatileMemoryError } from '#memory/errors.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { MemoryMapping } from '#memory/memory-mapping.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { overlayGuestMemory } from '#memory/wasm-overlay.ts';
import { openPipe } from '#sys/fd.ts';
import { ftruncate } from '#sys/file.ts';
import { Advice, Prot } from '#sys/memory.ts';
import { SyscallError } from '#sys/syscall-error.ts';

const PAGE = 4096;
const outOfRange = (error: unknown): boolean =>
  (error instanceof VolatileMemoryError || error instanceof GuestMemoryError) && error.code === 'OUT_OF_RANGE';

/** Offsets and sizes that a guest might send, sensible ones among them. */
const hostile = fc.oneof(
  fc.nat(3 * PAGE),
  fc.constantFrom(
    -1,
    -0.5,
    0.5,
    Number.NaN,
    Infinity,
    -Infinity,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    2 ** 53 + 2,
    2 ** 63,
    2 ** 64,
  ),
);

function temporaryFile(t: TestContext, content: Uint8Array): { path: string; fd: number } {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-memory-'));
  const path = join(folder, 'file');
  writeFileSync(path, content);
  const fd = openSync(path, 'r+');
  t.after(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  return { path, fd };
}

describe('SharedMemory', () => {
  test('can be neither shrunk nor grown by a holder of the descriptor', () => {
    using memory = SharedMemory.create('test', PAGE);
    for (const sizeBytes of [0, 2 * PAGE]) {
      assert.throws(
        () => ftruncate(memory.fd, sizeBytes),
        (error) => error instanceof SyscallError && error.code === 'EPERM',
      );
    }
  });

  test('two mappings are the same memory, and outlive the object', () => {
    const memory = SharedMemory.create('test', PAGE);
    using one = memory.map();
    using other = memory.map();
    memory.close();
    one.bytes[17] = 99;
    assert.equal(other.bytes[17], 99);
  });
});

describe('MemoryMapping', () => {
  test('after the close nothing that was handed out reaches memory any more', () => {
    const mapping = MemoryMapping.anonymous(PAGE);
    const slice = mapping.slice(0, 16);
    const { bytes } = mapping;
    mapping.close();
    assert.equal(bytes.length, 0);
    assert.throws(() => slice.readU32(0));
    assert.throws(() => slice.copyFrom(Uint8Array.of(1)));
    assert.throws(() => slice.loadU32(0));
    assert.throws(() => slice.address);
    assert.throws(() => mapping.slice(0, 1));
  });

  test('advice that drops pages gives zeros again', () => {
    using mapping = MemoryMapping.anonymous(2 * PAGE);
    mapping.bytes.fill(1);
    mapping.advise(Advice.DONTNEED, PAGE, PAGE);
    assert.deepEqual([mapping.bytes[0], mapping.bytes[PAGE]], [1, 0]);
    assert.throws(() => mapping.advise(Advice.DONTNEED, PAGE, PAGE + 1), outOfRange);
  });

  test('a range that is not inside is refused, whatever its numbers are', () => {
    using mapping = MemoryMapping.anonymous(PAGE);
    fc.assert(
      fc.property(hostile, hostile, (offset, sizeBytes) => {
        const inside =
          Number.isSafeInteger(offset) &&
          Number.isSafeInteger(sizeBytes) &&
          offset >= 0 &&
          sizeBytes >= 0 &&
          offset + sizeBytes <= PAGE;
        if (inside) assert.equal(mapping.slice(offset, sizeBytes).sizeBytes, sizeBytes);
        else assert.throws(() => mapping.slice(offset, sizeBytes), outOfRange);
      }),
    );
  });
});

describe('a mapping for reading', () => {
  test('is read, and everything that could write to it throws', (t) => {
    const { path, fd } = temporaryFile(t, Buffer.from('0123456789abcdef'));
    using mapping = MemoryMapping.fromFd({ fd, sizeBytes: 16, prot: Prot.READ });
    using other = MemoryMapping.anonymous(PAGE);
    const slice = mapping.slice(0, 16).slice(4, 8);
    const copy = new Uint8Array(8);
    slice.copyTo(copy);
    slice.copyToSlice(other.slice(0, 8));
    assert.deepEqual([slice.readU8(0), slice.loadU16(0)], [0x34, 0x3534]);
    assert.equal(Buffer.from(copy).toString(), '456789ab');
    assert.deepEqual(other.bytes.subarray(0, 8), copy);
    for (const write of [
      () => slice.writeU8(0, 1),
      () => slice.writeU16(0, 1),
      () => slice.writeU32(0, 1),
      () => slice.writeU64(0, 1n),
      () => slice.storeU16(0, 1),
      () => slice.storeU32(0, 1),
      () => slice.copyFrom(copy),
      () => other.slice(0, 8).copyToSlice(slice),
      () => slice.fill(1),
      () => slice.readFrom(fd),
      () => slice.readFromAt(fd, 0),
      () => slice.bytes,
      () => mapping.bytes,
    ]) {
      assert.throws(write, (error) => error instanceof VolatileMemoryError && error.code === 'READ_ONLY');
    }
    assert.equal(readFileSync(path, 'latin1'), '0123456789abcdef');
  });
});

describe('VolatileSlice', () => {
  test('reads and writes what a DataView of the same bytes does, or refuses', () => {
    using mapping = MemoryMapping.anonymous(PAGE);
    const slice = mapping.slice(100, 200);
    const model = new DataView(new ArrayBuffer(200));
    const size = fc.constantFrom(1, 2, 4, 8);
    fc.assert(
      fc.property(hostile, size, fc.bigInt(0n, 2n ** 64n - 1n), (offset, sizeBytes, value) => {
        const write = (): void => {
          if (sizeBytes === 1) slice.writeU8(offset, Number(value & 0xffn));
          else if (sizeBytes === 2) slice.writeU16(offset, Number(value & 0xffffn));
          else if (sizeBytes === 4) slice.writeU32(offset, Number(value & 0xffff_ffffn));
          else slice.writeU64(offset, value);
        };
        if (!(Number.isInteger(offset) && offset >= 0 && offset + sizeBytes <= 200)) {
          assert.throws(write, outOfRange);
          return;
        }
        write();
        for (let i = 0; i < sizeBytes; i++) model.setUint8(offset + i, Number((value >> BigInt(8 * i)) & 0xffn));
        assert.equal(slice.readU8(offset), model.getUint8(offset));
        if (sizeBytes === 8) assert.equal(slice.readU64(offset), model.getBigUint64(offset, true));
        if (sizeBytes === 4) assert.equal(slice.readU32(offset), model.getUint32(offset, true));
        if (sizeBytes === 2) assert.equal(slice.readU16(offset), model.getUint16(offset, true));
      }),
    );
    assert.equal(Buffer.compare(slice.bytes, new Uint8Array(model.buffer)), 0);
    assert.ok(mapping.bytes.subarray(0, 100).every((byte) => byte === 0));
    assert.ok(mapping.bytes.subarray(300).every((byte) => byte === 0));
  });

  test('atomic accesses must be aligned in memory', () => {
    using mapping = MemoryMapping.anonymous(PAGE);
    const slice = mapping.slice(2, 20);
    slice.storeU16(0, 0xbeef);
    assert.equal(slice.loadU16(0), 0xbeef);
    slice.storeU32(2, 0xdeadbeef);
    assert.equal(slice.loadU32(2), 0xdeadbeef);
    const misaligned = (error: unknown) => error instanceof VolatileMemoryError && error.code === 'MISALIGNED';
    assert.throws(() => slice.loadU16(1), misaligned);
    assert.throws(() => slice.storeU32(0, 1), misaligned);
    assert.throws(() => slice.loadU32(18), outOfRange);
  });

  test('a slice of a slice stays inside it', () => {
    using mapping = MemoryMapping.anonymous(PAGE);
    const inner = mapping.slice(100, 50).slice(10, 20);
    inner.fill(7);
    assert.deepEqual([mapping.bytes[109], mapping.bytes[110], mapping.bytes[129], mapping.bytes[130]], [0, 7, 7, 0]);
    assert.throws(() => inner.slice(0, 21), outOfRange);
  });

  test('bytes go to a descriptor and come from one without a copy in between', () => {
    using mapping = MemoryMapping.anonymous(PAGE);
    const { reader, writer } = openPipe();
    using _reader = reader;
    using _writer = writer;
    const source = mapping.slice(0, 5);
    source.copyFrom(Buffer.from('hello'));
    assert.equal(source.writeTo(writer.fd), 5);
    const target = mapping.slice(1000, 5);
    assert.equal(target.readFrom(reader.fd), 5);
    assert.equal(Buffer.from(target.bytes).toString(), 'hello');
  });

  test('a file is read to the end of the slice or of the file, and written whole', (t) => {
    using mapping = MemoryMapping.anonymous(PAGE);
    const { path, fd } = temporaryFile(t, Buffer.from('0123456789'));
    assert.equal(mapping.slice(0, 4).readFromAt(fd, 3), 4);
    assert.equal(Buffer.from(mapping.bytes.subarray(0, 4)).toString(), '3456');
    assert.equal(mapping.slice(0, 100).readFromAt(fd, 8), 2);
    mapping.slice(0, 2).copyFrom(Buffer.from('XY'));
    mapping.slice(0, 2).writeToAt(fd, 1);
    assert.equal(readFileSync(path, 'latin1'), '0XY3456789');
  });

  test('copies between overlapping slices', () => {
    using mapping = MemoryMapping.anonymous(PAGE);
    mapping.bytes.set([1, 2, 3, 4, 5]);
    mapping.slice(0, 4).copyToSlice(mapping.slice(1, 4));
    assert.deepEqual([...mapping.bytes.subarray(0, 6)], [1, 1, 2, 3, 4, 0]);
  });
});

describe('GuestMemory', () => {
  const RANGES = [
    { start: 0, sizeBytes: 4 * PAGE },
    { start: 0x10_0000, sizeBytes: 2 * PAGE },
    { start: 0x1_0000_0000, sizeBytes: PAGE },
  ];

  test('addresses are judged without an error, and lie in the whole', () => {
    using memory = GuestMemory.create(RANGES);
    memory.writeU32(0x10_0004, 0x1234_5678);
    assert.equal(memory.whole.readU32(memory.offsetOf(0x10_0004, 4)), 0x1234_5678);
    assert.equal(memory.whole.sizeBytes, memory.sizeBytes);
    for (const [address, size] of [
      [4 * PAGE, 1],
      [4 * PAGE - 1, 2],
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
      [2 ** 64, 1],
      [0, 2 ** 64],
      [0, -1],
    ] as const) {
      assert.equal(memory.offsetOf(address, size), -1);
    }
    memory.close();
    assert.equal(memory.offsetOf(0, 1), -1);
  });

  test('every address of a region is one byte of its own', () => {
    using memory = GuestMemory.create(RANGES);
    memory.writeU32(0x10_0000, 1);
    memory.writeU32(0x1_0000_0000, 2);
    memory.writeU32(4 * PAGE - 4, 3);
    assert.deepEqual(
      [memory.readU32(0x10_0000), memory.readU32(0x1_0000_0000), memory.readU32(4 * PAGE - 4)],
      [1, 2, 3],
    );
    assert.equal(memory.endAddress, 0x1_0000_0000 + PAGE);
    assert.equal(memory.sizeBytes, 7 * PAGE);
  });

  test('an access that is not all RAM is refused, whatever its numbers are', () => {
    using memory = GuestMemory.create(RANGES);
    const address = fc.oneof(
      hostile,
      hostile.map((x) => 0x10_0000 + x),
      hostile.map((x) => 0x1_0000_0000 - 8 + x),
    );
    fc.assert(
      fc.property(address, hostile, (at, sizeBytes) => {
        const inside = RANGES.some(
          (range) =>
            at >= range.start && at < range.start + range.sizeBytes && at + sizeBytes <= range.start + range.sizeBytes,
        );
        const sensible = Number.isInteger(at) && Number.isInteger(sizeBytes) && sizeBytes >= 0;
        assert.equal(memory.contains(at, sizeBytes), inside && sensible);
        if (inside && sensible) assert.equal(memory.slice(at, sizeBytes).sizeBytes, sizeBytes);
        else assert.throws(() => memory.slice(at, sizeBytes), outOfRange);
      }),
    );
  });

  test('regions that follow each other are one range to every access', () => {
    using memory = GuestMemory.create([
      { start: 0x10_0000 + PAGE, sizeBytes: PAGE },
      { start: 0x10_0000, sizeBytes: PAGE },
      { start: 0x10_0000 + 3 * PAGE, sizeBytes: PAGE },
    ]);
    const border = 0x10_0000 + PAGE;
    memory.writeU64(border - 4, 0x1122_3344_5566_7788n);
    assert.equal(memory.readU64(border - 4), 0x1122_3344_5566_7788n);
    assert.deepEqual([...memory.slice(border - 2, 4).bytes], [0x66, 0x55, 0x44, 0x33]);
    assert.equal(memory.hostAddress(border - 2, 4) + 2, memory.hostAddress(border, 2));
    assert.equal(memory.regions.length, 3);
    assert.equal(memory.contains(0x10_0000, 2 * PAGE), true);
    assert.equal(memory.contains(0x10_0000, 2 * PAGE + 1), false);
    assert.throws(() => memory.slice(border, PAGE + 1), outOfRange);
  });

  test('where they lie apart in the memfd bytes may cross, a slice may not and says why', () => {
    using shared = SharedMemory.create('holes', 5 * PAGE);
    using memory = GuestMemory.fromFd(shared.fd, [
      { guestAddress: 0, sizeBytes: PAGE, memfdOffset: PAGE },
      { guestAddress: PAGE, sizeBytes: PAGE, memfdOffset: 4 * PAGE },
    ]);
    using whole = shared.map();
    const pattern = Uint8Array.from({ length: PAGE + 2 }, (_, i) => i);
    memory.writeBytes(PAGE - 10, pattern);
    assert.deepEqual([...whole.bytes.subarray(2 * PAGE - 10, 2 * PAGE + 1)], [...pattern.subarray(0, 10), 0]);
    assert.deepEqual([...whole.bytes.subarray(4 * PAGE - 1, 4 * PAGE + 2)], [0, 10, 11]);
    assert.throws(() => memory.writeBytes(2 * PAGE - 1, pattern.subarray(0, 2)), outOfRange);
    const read = new Uint8Array(20);
    memory.readBytes(PAGE - 10, read);
    assert.deepEqual([...read], [...pattern.subarray(0, 20)]);
    for (const at of [PAGE - 1, PAGE - 3, PAGE - 7]) {
      memory.writeU64(at, 0x1122_3344_5566_7788n);
      assert.deepEqual([memory.readU64(at), memory.readU32(at)], [0x1122_3344_5566_7788n, 0x5566_7788]);
    }
    memory.writeU32(PAGE - 1, 0xfedc_ba98);
    memory.writeU16(PAGE - 1, 0xcdef);
    assert.deepEqual([memory.readU16(PAGE - 1), memory.readU32(PAGE - 1)], [0xcdef, 0xfedc_cdef]);
    memory.fill(PAGE - 1, 2, 7);
    assert.equal(memory.readU16(PAGE - 1), 0x0707);
    assert.deepEqual([memory.contains(0, 2 * PAGE), memory.sizeBytes], [true, 2 * PAGE]);
    const apart = (error: unknown): boolean =>
      error instanceof GuestMemoryError && error.code === 'NOT_CONTIGUOUS' && /apart in the memfd/.test(error.message);
    assert.throws(() => memory.slice(PAGE - 1, 2), apart);
    assert.throws(() => memory.hostAddress(PAGE - 1, 2), apart);
    assert.equal(memory.slice(PAGE, 2).sizeBytes, 2);
  });

  test('regions that overlap, are empty or not aligned are refused', () => {
    for (const ranges of [
      [],
      [{ start: 0, sizeBytes: 0 }],
      [{ start: 1, sizeBytes: PAGE }],
      [{ start: 0, sizeBytes: PAGE + 1 }],
      [
        { start: 0, sizeBytes: 2 * PAGE },
        { start: PAGE, sizeBytes: PAGE },
      ],
      [{ start: 2 ** 52, sizeBytes: PAGE }],
    ]) {
      assert.throws(
        () => GuestMemory.create(ranges),
        (error) => error instanceof GuestMemoryError && error.code === 'INVALID_REGIONS',
      );
    }
  });

  test('a clone is the same memory and lives until the last owner closes', () => {
    const memory = GuestMemory.create(RANGES);
    const clone = memory.clone();
    memory.writeU8(5, 42);
    memory.close();
    assert.throws(() => memory.readU8(5), outOfRange);
    assert.equal(clone.readU8(5), 42);
    clone.close();
    assert.throws(() => clone.readU8(5), outOfRange);
  });

  test('memory over a borrowed descriptor is the same memory, and its close leaves the descriptor open', () => {
    using memory = GuestMemory.create(RANGES);
    const borrower = GuestMemory.borrowing(memory.fd, memory.regions);
    assert.equal(borrower.fd, memory.fd);
    borrower.writeU8(5, 42);
    borrower.close();
    assert.equal(memory.readU8(5), 42);
    GuestMemory.fromFd(memory.fd, memory.regions).close();
  });

  test('memory that could shrink under us is refused', () => {
    using memory = SharedMemory.create('whole', PAGE);
    const regions = [{ guestAddress: 0, sizeBytes: PAGE, memfdOffset: 0 }];
    GuestMemory.fromFd(memory.fd, regions).close();
    const { reader, writer } = openPipe();
    using _reader = reader;
    using _writer = writer;
    assert.throws(() => GuestMemory.fromFd(reader.fd, regions));
    // Regions beyond its end would be a SIGBUS at the first access.
    const beyond = [{ guestAddress: 0, sizeBytes: 2 * PAGE, memfdOffset: 0 }];
    assert.throws(() => GuestMemory.fromFd(memory.fd, beyond), /ends before/);
  });
});

describe('the overlay of guest memory on a WebAssembly memory', () => {
  const OFFSET = 2 * 65536;

  test('WebAssembly and the mapping see the same bytes, both ways, at guest addresses', () => {
    using memory = GuestMemory.create([
      { start: 0, sizeBytes: 65536 },
      { start: 2 * 65536, sizeBytes: 65536 },
    ]);
    const wasm = new WebAssembly.Memory({ initial: 8, maximum: 8 });
    overlayGuestMemory(wasm, OFFSET, memory);
    const bytes = new Uint8Array(wasm.buffer);
    bytes[OFFSET + 77] = 1;
    memory.writeU8(2 * 65536 + 5, 2);
    assert.deepEqual([memory.readU8(77), bytes[OFFSET + 2 * 65536 + 5]], [1, 2]);
    // What lies between the regions is the WebAssembly memory's own.
    bytes[OFFSET + 65536] = 3;
    assert.throws(() => memory.readU8(65536), outOfRange);
  });

  test('what does not fit is a mistake of the program', () => {
    using memory = GuestMemory.create([{ start: 0, sizeBytes: 65536 }]);
    const wasm = new WebAssembly.Memory({ initial: 2, maximum: 2 });
    assert.throws(() => overlayGuestMemory(wasm, 65536 + 4096, memory));
    assert.throws(() => overlayGuestMemory(wasm, 1, memory));
    assert.throws(() => overlayGuestMemory(wasm, -65536, memory));
  });

  test('a WebAssembly memory that can grow is refused', () => {
    using memory = GuestMemory.create([{ start: 0, sizeBytes: 65536 }]);
    for (const limits of [{ initial: 2 }, { initial: 2, maximum: 3 }]) {
      assert.throws(() => overlayGuestMemory(new WebAssembly.Memory(limits), 65536, memory), /cannot grow/);
    }
  });

  test('two threads share it', async () => {
    using memory = GuestMemory.create([{ start: 0, sizeBytes: 65536 }]);
    const wasm = new WebAssembly.Memory({ initial: 3, maximum: 3 });
    overlayGuestMemory(wasm, 65536, memory);
    const worker = new Worker(new URL('./overlay-worker.ts', import.meta.url), { workerData: memory.describe() });
    const exited = once(worker, 'exit');
    const [answer] = (await once(worker, 'message')) as [number];
    assert.equal(answer, 0);
    new Uint8Array(wasm.buffer)[65536 + 9] = 123;
    worker.postMessage('look');
    const [seen] = (await once(worker, 'message')) as [number];
    assert.equal(seen, 123);
    await exited;
  });
});

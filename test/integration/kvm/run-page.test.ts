/** What an exit of KVM asks of the bus, and what is said of failures: over memory as the kernel fills it, without KVM. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KvmExitIo, KvmInternalError } from '#hypervisor/kvm/abi.ts';
import { Run, RunEmulationFailure, RunFailEntry, RunIo, RunMmio } from '#hypervisor/kvm/abi-structs.ts';
import { failEntryText, internalErrorText } from '#hypervisor/kvm/failure.ts';
import { RunPage } from '#hypervisor/kvm/run-page.ts';
import { SharedMemory } from '#memory/shared-memory.ts';

const PAGE = 4096;
/** Where the kernel puts the data of port accesses. */
const PORT_DATA = PAGE;

function create() {
  const file = SharedMemory.create('kvm-run', 2 * PAGE);
  const page = new RunPage(file.fd, 2 * PAGE);
  const seen: string[] = [];
  const bytes = (data: Uint8Array): string => Buffer.from(data).toString('hex');
  const bus = {
    readPort: (port: number, data: Uint8Array) => {
      seen.push(`in ${port} ${data.length}`);
      data.fill(0x40 + seen.length);
    },
    writePort: (port: number, data: Uint8Array) => void seen.push(`out ${port} ${bytes(data)}`),
    readMmio: (address: number, data: Uint8Array) => {
      seen.push(`read ${address} ${data.length}`);
      data.fill(0x40 + seen.length);
    },
    writeMmio: (address: number, data: Uint8Array) => void seen.push(`write ${address} ${bytes(data)}`),
  };
  const dispose = (): void => {
    page[Symbol.dispose]();
    file.close();
  };
  return { page, view: page.view, bus, seen, [Symbol.dispose]: dispose };
}

describe('a port access', () => {
  test('of a string instruction is one access for each element, in their order', () => {
    using machine = create();
    const { page, view, bus, seen } = machine;
    RunIo.set(view, Run.size, { direction: KvmExitIo.OUT, size: 2, port: 7, count: 3, dataOffset: PORT_DATA });
    for (let index = 0; index < 6; index++) view.setUint8(PORT_DATA + index, index);
    page.doPortAccess(bus);
    assert.deepEqual(seen, ['out 7 0001', 'out 7 0203', 'out 7 0405']);
  });

  test('that reads several elements gives the guest each of them', () => {
    using machine = create();
    const { page, view, bus, seen } = machine;
    RunIo.set(view, Run.size, { direction: KvmExitIo.IN, size: 4, port: 7, count: 2, dataOffset: PORT_DATA });
    page.doPortAccess(bus);
    assert.deepEqual(seen, ['in 7 4', 'in 7 4']);
    assert.equal(view.getUint32(PORT_DATA), 0x4141_4141);
    assert.equal(view.getUint32(PORT_DATA + 4), 0x4242_4242);
  });
});

describe('a memory access', () => {
  for (const size of [1, 2, 4, 8]) {
    test(`of ${size} bytes is one access`, () => {
      using machine = create();
      const { page, view, bus, seen } = machine;
      RunMmio.set(view, Run.size, { physAddr: 2 ** 40 + 8, data: new Uint8Array(8), len: size, isWrite: 0 });
      page.doMmio(bus);
      assert.deepEqual(seen, [`read ${2 ** 40 + 8} ${size}`]);
      assert.equal(view.getUint8(Run.size + RunMmio.fields.data.offset + size - 1), 0x41);
    });
  }

  test('of another size is one of each byte', () => {
    using machine = create();
    const { page, view, bus, seen } = machine;
    RunMmio.set(view, Run.size, { physAddr: 16, data: Uint8Array.of(1, 2, 3), len: 3, isWrite: 1 });
    page.doMmio(bus);
    assert.deepEqual(seen, ['write 16 01', 'write 17 02', 'write 18 03']);
  });
});

test('accesses allocate nothing', () => {
  using machine = create();
  const { page, view } = machine;
  const nothing = () => {};
  const bus = { readPort: nothing, writePort: nothing, readMmio: nothing, writeMmio: nothing };
  RunIo.set(view, Run.size, { direction: KvmExitIo.OUT, size: 1, port: 7, count: 1, dataOffset: PORT_DATA });
  const access = (count: number): void => {
    for (let index = 0; index < count; index++) page.doPortAccess(bus);
  };
  access(20_000);
  const rounds = Array.from({ length: 5 }, () => {
    const before = process.memoryUsage().heapUsed;
    access(200_000);
    return process.memoryUsage().heapUsed - before;
  });
  // What V8 compiles meanwhile is on its heap too: the smallest counts, and the least object of each access would be 2.4 MB.
  const grown = Math.min(...rounds.map(Math.abs));
  assert.ok(grown < 400_000, `${grown} bytes for 200,000 accesses`);
});

describe('a failure is told', () => {
  test('by the hardware reason of an entry that failed', () => {
    using machine = create();
    RunFailEntry.set(machine.view, Run.size, { hardwareEntryFailureReason: 0x8000_0021n, cpu: 3 });
    const text = 'the processor does not enter the guest: hardware reason 0x80000021 on host CPU 3';
    assert.equal(failEntryText(machine.page), text);
  });

  test('by the instruction that KVM does not emulate', () => {
    using machine = create();
    RunEmulationFailure.set(machine.view, Run.size, {
      suberror: KvmInternalError.EMULATION,
      ndata: 3,
      flags: 1n,
      insnSize: 3,
      insnBytes: Uint8Array.of(0x0f, 0x0b, 0x90),
    });
    assert.match(internalErrorText(machine.page), /^KVM gives up: EMULATION; the instruction .*: 0f 0b 90; data 1 /);
  });

  test('by the number of an error without a name', () => {
    using machine = create();
    const none = { flags: 0n, insnSize: 0, insnBytes: new Uint8Array(15) };
    RunEmulationFailure.set(machine.view, Run.size, { suberror: 99, ndata: 0, ...none });
    assert.equal(internalErrorText(machine.page), 'KVM gives up: 99');
  });
});

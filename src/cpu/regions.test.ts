import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RAM_BASE } from './layout.ts';
import { CODE_START, createTestMachine, RAM_SIZE_BYTES } from './testing.ts';

/** Identity-mapped by the test's page tables, far from RAM. */
const START = 0x1000_0000;
const SIZE = 0x20_0000;
const RAX = 0;
const RCX = 1;
const RBX = 3;
const RSI = 6;
const RDI = 7;

interface Region {
  readonly isReadOnly?: boolean;
  readonly start?: number;
}

/** A machine whose region is filled with 0x11, and the writes that reached the devices. */
function create(code: string, { isReadOnly = false, start = START }: Region = {}) {
  const writes: string[] = [];
  const machine = createTestMachine(code, {
    regionRoomBytes: 2 * SIZE,
    devices: {
      read: (_address, data) => void data.fill(0xee),
      write: (address, data) => void writes.push(`${address.toString(16)} ${data.toHex()}`),
    },
  });
  const { cpu, ram } = machine;
  const region = { start, sizeBytes: SIZE, place: RAM_SIZE_BYTES + SIZE, isReadOnly };
  const bytes = new Uint8Array(ram.buffer, RAM_BASE + region.place, SIZE);
  bytes.fill(0x11);
  cpu.mmu.setRegions([region], []);
  machine.setRegister(RBX, BigInt(START));
  const rerun = (): void => {
    cpu.halted = false;
    cpu.setRip(CODE_START, 0);
    assert.deepEqual(cpu.run(1_000_000), { reason: 'halt' });
  };
  return { machine, cpu, ram, region, bytes, writes, rerun };
}

describe('a memory region outside RAM', () => {
  test('is read and written as RAM is, without the devices', () => {
    // mov eax,[rbx] / mov dword [rbx+4],0x12345678 / add dword [rbx+8],1 / hlt
    const all = create('8b03 c7430478563412 83430801 f4');
    all.rerun();
    assert.equal(all.machine.register(RAX), 0x1111_1111n);
    assert.equal(all.bytes.subarray(0, 16).toHex(), '11111111785634121211111111111111');
    assert.deepEqual(all.writes, []);
  });

  test('ends where it ends: what comes after is the devices’', () => {
    // mov eax,[rbx] / mov [rbx],eax / hlt
    const all = create('8b03 8903 f4');
    all.machine.setRegister(RBX, BigInt(START + SIZE));
    all.rerun();
    assert.equal(all.machine.register(RAX), 0xeeee_eeeen);
    assert.deepEqual(all.writes, [`${(START + SIZE).toString(16)} eeeeeeee`]);
  });

  test('an access across its last byte has a part in each', () => {
    const all = create('8b03 8903 f4');
    all.bytes.set([1, 2], SIZE - 2);
    all.machine.setRegister(RBX, BigInt(START + SIZE - 2));
    all.rerun();
    assert.equal(all.machine.register(RAX), 0xeeee_0201n);
    assert.deepEqual(all.writes, [`${(START + SIZE).toString(16)} eeee`]);
  });

  test('strings are moved to it and from it', () => {
    // rep movsb / hlt
    const all = create('f3a4 f4');
    all.ram.fill(0x22, 0x40_0000, 0x40_3000);
    all.machine.setRegister(RSI, 0x40_0000n);
    all.machine.setRegister(RDI, BigInt(START + 0x800));
    all.machine.setRegister(RCX, 0x2800n);
    all.rerun();
    assert.deepEqual(
      [all.bytes[0x7ff], all.bytes[0x800], all.bytes[0x2fff], all.bytes[0x3000]],
      [0x11, 0x22, 0x22, 0x11],
    );
    all.machine.setRegister(RSI, BigInt(START + 0x7ff));
    all.machine.setRegister(RDI, 0x50_0000n);
    all.machine.setRegister(RCX, 3n);
    all.rerun();
    assert.equal(all.ram.subarray(0x50_0000, 0x50_0004).toHex(), '11222200');
  });

  test('code runs in it, also after it was written over', () => {
    // jmp rbx
    const all = create('ffe3');
    // mov eax,1 / hlt
    all.bytes.set(Uint8Array.fromHex('b801000000f4'));
    all.rerun();
    assert.equal(all.machine.register(RAX), 1n);
    // mov byte [rbx+1],7 / jmp rbx
    all.ram.set(Uint8Array.fromHex('c6430107ffe3'), CODE_START);
    all.cpu.mmu.externalWrite(CODE_START, 6);
    all.rerun();
    assert.equal(all.machine.register(RAX), 7n);
  });

  test('page tables lie in it', () => {
    const all = create('8b03 f4');
    const { cpu, bytes } = all;
    const tables = new DataView(bytes.buffer, bytes.byteOffset);
    bytes.set(all.ram.subarray(0x1000, 0x4000));
    tables.setUint32(0, (START + 0x1000) | 7, true);
    tables.setUint32(0x1000, (START + 0x2000) | 7, true);
    cpu.system.cr3 = START;
    cpu.mmu.tlb.flush();
    all.rerun();
    assert.equal(all.machine.register(RAX), BigInt(tables.getUint32(0, true)));
    assert.equal((tables.getUint32(0x2000 + (START >> 21) * 8, true) & 0x20) !== 0, true, 'the entry is marked');
  });
});

describe('a read-only region', () => {
  test('writes of every kind go to the devices and leave it as it is, although it was read before', () => {
    // mov eax,[rbx] / mov [rbx],ecx / add dword [rbx+4],1 / rep stosb to rdi / mov eax,[rbx] / hlt
    const all = create('8b03 890b 83430401 51 b904000000 f3aa 59 8b03 f4', { isReadOnly: true });
    all.machine.setRegister(RCX, 0x5555_5555n);
    all.machine.setRegister(RDI, BigInt(START + 8));
    all.rerun();
    assert.equal(all.machine.register(RAX), 0x1111_1111n);
    assert.ok(all.bytes.every((byte) => byte === 0x11));
    assert.deepEqual(all.writes.slice(0, 2), ['10000000 55555555', '10000004 12111111']);
    assert.equal(all.writes.length, 6);
  });

  test('code runs in it', () => {
    const all = create('ffe3', { isReadOnly: true });
    all.bytes.set(Uint8Array.fromHex('b801000000f4'));
    all.rerun();
    assert.equal(all.machine.register(RAX), 1n);
  });

  test('page tables cannot lie in it, since their entries are marked', () => {
    const all = create('8b03 f4', { isReadOnly: true });
    all.bytes.set(all.ram.subarray(0x1000, 0x4000));
    all.cpu.system.cr3 = START;
    all.cpu.mmu.tlb.flush();
    all.cpu.setRip(CODE_START, 0);
    assert.equal(all.cpu.run(1000).reason, 'triple-fault');
  });
});

describe('regions that change', () => {
  test('one that is gone is the devices’ again, for data and for code', () => {
    const all = create('8b03 f4');
    all.rerun();
    assert.equal(all.machine.register(RAX), 0x1111_1111n);
    all.cpu.mmu.setRegions([], [all.region]);
    all.rerun();
    assert.equal(all.machine.register(RAX), 0xeeee_eeeen);
  });

  test('code of a region that another one has followed is decoded anew', () => {
    const all = create('ffe3');
    all.bytes.set(Uint8Array.fromHex('b801000000f4'));
    all.rerun();
    all.cpu.mmu.setRegions([], [all.region]);
    all.bytes.set(Uint8Array.fromHex('b802000000f4'));
    all.cpu.mmu.setRegions([all.region], []);
    all.rerun();
    assert.equal(all.machine.register(RAX), 2n);
  });

  test('are looked up anew before an access outside RAM is judged', () => {
    const all = create('8b03 f4');
    all.cpu.mmu.setRegions([], [all.region]);
    let lookups = 0;
    all.cpu.mmu.map.beforeLookup = () => {
      lookups++;
      all.cpu.mmu.map.setRegions([all.region]);
    };
    all.rerun();
    assert.deepEqual([all.machine.register(RAX), lookups], [0x1111_1111n, 1]);
  });

  test('a region inside RAM, of parts of pages or without room is a mistake of the program', () => {
    const { cpu, region } = create('f4');
    for (const wrong of [{ start: 0 }, { start: START + 1 }, { sizeBytes: 0 }, { sizeBytes: 2 * SIZE }, { place: 0 }]) {
      assert.throws(() => cpu.mmu.setRegions([{ ...region, ...wrong }], []), /Assertion|assert|region|pages|room/);
    }
  });
});

test('physical addresses up to the last one reach the devices as they are', () => {
  const seen: number[] = [];
  const machine = createTestMachine('8b03 f4', {
    regionRoomBytes: SIZE,
    devices: { read: (address) => void seen.push(address), write: () => undefined },
  });
  // The last entry that maps 2 MiB maps those at the end of 46 bits.
  const tables = new DataView(machine.ram.buffer, RAM_BASE + 0x3000, 0x1000);
  tables.setBigUint64(511 * 8, 0x3fff_ffe0_0087n, true);
  machine.setRegister(RBX, 0x3fff_fffcn);
  assert.deepEqual(machine.cpu.run(1000), { reason: 'halt' });
  assert.deepEqual(seen, [0x3fff_ffff_fffc]);
});

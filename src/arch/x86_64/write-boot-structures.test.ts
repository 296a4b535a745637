import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommandLine } from '#kernel/command-line.ts';
import { GiB, MiB } from '#util/bits.ts';
import { memoryRanges } from './layout.ts';
import { type BootMemory, type BootOptions, writeBootStructures } from './write-boot-structures.ts';

const KERNEL = { entry: 0x100_0000, commandLineMaxBytes: 2047 };

function commandLine(text: string): CommandLine {
  const line = new CommandLine(1e6);
  line.append(text);
  return line;
}

const OPTIONS: BootOptions = {
  kernel: KERNEL,
  commandLine: commandLine('console=ttyS0 quiet'),
  cpuCount: 1,
  highMmio: { start: 4 * GiB, sizeBytes: GiB },
  fillRandom: (target) => target.fill(0xa5),
  version: '0.1.0',
};

/** Memory of which only the first MiB can be written; counts the writes. */
class FakeMemory implements BootMemory {
  readonly bytes = new Uint8Array(MiB);
  readonly regions: BootMemory['regions'];
  writes = 0;

  constructor(memorySizeBytes = 64 * MiB) {
    this.regions = memoryRanges(memorySizeBytes).map(({ start, sizeBytes }) => ({ guestAddress: start, sizeBytes }));
  }

  writeBytes(address: number, source: Uint8Array): void {
    this.bytes.set(source, address);
    this.writes++;
  }
}

function boot(
  change: Partial<BootOptions> = {},
  memory = new FakeMemory(),
): { view: DataView; text: (address: number, size: number) => string } {
  writeBootStructures(memory, { ...OPTIONS, ...change });
  return {
    view: new DataView(memory.bytes.buffer),
    text: (address, size) => Buffer.from(memory.bytes.subarray(address, address + size)).toString('latin1'),
  };
}

test('each structure is where its searcher looks', () => {
  const { text, view } = boot();
  assert.equal(text(0x20000, 20), 'console=ttyS0 quiet\0');
  assert.equal(text(0x7202, 4), 'HdrS');
  assert.equal(text(0x9fff0, 4), '_MP_');
  assert.equal(text(view.getUint32(0x9fff4, true), 4), 'PCMP');
  assert.equal(text(0xe0000, 8), 'RSD PTR ');
  assert.equal(text(0xf0000, 5), '_SM3_');
  assert.equal(view.getBigUint64(0x9000, true), 0xa003n);
  assert.equal(view.getBigUint64(0x1510, true), 0x00af_9b00_0000_ffffn);
});

test('the zero page leads to the command line, the RSDP and a seed of random bytes', () => {
  const { view } = boot();
  assert.equal(view.getUint32(0x7228, true), 0x20000);
  assert.equal(view.getUint32(0x7238, true), 19);
  assert.equal(view.getBigUint64(0x7070, true), 0xe0000n);
  const setupData = Number(view.getBigUint64(0x7250, true));
  assert.equal(view.getBigUint64(setupData, true), 0n);
  assert.deepEqual([view.getUint32(setupData + 8, true), view.getUint32(setupData + 12, true)], [9, 64]);
  assert.equal(view.getUint8(setupData + 16), 0xa5);
  assert.equal(view.getUint8(setupData + 79), 0xa5);
  assert.equal(view.getUint8(setupData + 80), 0);
});

test('the registers enter the kernel given', () => {
  const kernel = { ...KERNEL, entry: 0x200200 };
  assert.equal(writeBootStructures(new FakeMemory(), { ...OPTIONS, kernel }).general.rip, 0x200200n);
});

test('the longest command line fits with its NUL and one byte more is refused', () => {
  const { view } = boot({ commandLine: commandLine('x'.repeat(2047)) });
  assert.equal(view.getUint8(0x207fe), 0x78);
  assert.equal(view.getUint8(0x207ff), 0);
  const kernel = { ...KERNEL, commandLineMaxBytes: 4095 };
  assert.throws(() => boot({ kernel, commandLine: commandLine('x'.repeat(2048)) }), { code: 'COMMAND_LINE_TOO_LONG' });
});

test('a kernel that takes less of a command line gets no more', () => {
  const kernel = { ...KERNEL, commandLineMaxBytes: 255 };
  boot({ kernel, commandLine: commandLine('x'.repeat(255)) });
  assert.throws(() => boot({ kernel, commandLine: commandLine('x'.repeat(256)) }), { code: 'COMMAND_LINE_TOO_LONG' });
});

test('an initial ramdisk is named in the zero page wherever RAM is, above the first MiB', () => {
  const { view } = boot({ initrd: { address: 63 * MiB, sizeBytes: MiB } });
  assert.deepEqual([view.getUint32(0x7218, true), view.getUint32(0x721c, true)], [63 * MiB, MiB]);
  const high = boot({ initrd: { address: 4 * GiB, sizeBytes: MiB } }, new FakeMemory(5 * GiB));
  assert.equal(high.view.getUint32(0x70c0, true), 1);
  assert.throws(() => boot({ initrd: { address: 63 * MiB, sizeBytes: MiB + 1 } }));
  assert.throws(() => boot({ initrd: { address: 4 * GiB, sizeBytes: 1 } }));
  assert.throws(() => boot({ initrd: { address: 0x80000, sizeBytes: 2 * MiB } }));
});

test('what the machine cannot be is refused before anything is written', () => {
  const bad: [string, Partial<BootOptions>][] = [
    ['BAD_CPU_COUNT', { cpuCount: 0 }],
    ['BAD_CPU_COUNT', { cpuCount: 256 }],
    ['BAD_CPU_COUNT', { cpuCount: 1.5 }],
    ['KERNEL_ENTRY_OUTSIDE_RAM', { kernel: { ...KERNEL, entry: 64 * MiB } }],
    ['KERNEL_ENTRY_OUTSIDE_RAM', { kernel: { ...KERNEL, entry: 0xf0000 } }],
    ['COMMAND_LINE_TOO_LONG', { commandLine: commandLine('x'.repeat(5000)) }],
  ];
  for (const [code, change] of bad) {
    const memory = new FakeMemory();
    assert.throws(() => boot(change, memory), { code });
    assert.equal(memory.writes, 0);
  }
});

test('a kernel above 4 GiB is refused, for the boot page tables do not reach it', () => {
  const kernel = { ...KERNEL, entry: 4 * GiB };
  assert.throws(() => boot({ kernel }, new FakeMemory(5 * GiB)), { code: 'KERNEL_ENTRY_OUTSIDE_RAM' });
});

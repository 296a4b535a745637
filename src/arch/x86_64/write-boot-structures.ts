import type { CommandLine } from '#kernel/command-line.ts';
import type { GuestRam } from '#kernel/guest-ram.ts';
import type { LoadedInitrd } from '#kernel/initrd.ts';
import type { LoadedKernel } from '#kernel/loaded-kernel.ts';
import { assert } from '#util/assert.ts';
import { acpiTables } from './acpi/acpi-tables.ts';
import { BootError } from './boot-error.ts';
import { bootParamsPage } from './boot-params.ts';
import { type BootRegisters, bootRegisters } from './boot-registers.ts';
import { e820Map } from './e820.ts';
import { bootGdt, bootIdt } from './gdt.ts';
import {
  ACPI_TABLES_ADDRESS,
  type AddressRange,
  COMMAND_LINE_ADDRESS,
  COMMAND_LINE_MAX_BYTES,
  CPU_COUNT_MAX,
  EXTENDED_MEMORY_START,
  GDT_ADDRESS,
  IDT_ADDRESS,
  MP_FLOATING_POINTER_ADDRESS,
  MP_TABLE_ADDRESS,
  memoryRanges,
  SMBIOS_ADDRESS,
  ZERO_PAGE_ADDRESS,
} from './layout.ts';
import { mpConfigurationTable, mpFloatingPointer } from './mp-table.ts';
import { identityPageTables } from './page-tables.ts';
import { RNG_SEED_SIZE, SETUP_DATA_TYPE, setupDataChain } from './setup-data.ts';
import { smbiosTables } from './smbios.ts';

/** Guest memory whose regions are `memoryRanges` of its size. */
export type BootMemory = Pick<GuestRam, 'regions' | 'writeBytes'>;

export interface BootOptions {
  /** In memory already, as is the initial ramdisk. */
  readonly kernel: Pick<LoadedKernel, 'entry' | 'setupHeader' | 'commandLineMaxBytes'>;
  readonly initrd?: LoadedInitrd;
  readonly commandLine: CommandLine;
  readonly cpuCount: number;
  /** The high MMIO of PCI devices. */
  readonly highMmio: AddressRange;
  /** Fills its argument with random bytes: the seed of the guest's generator. */
  readonly fillRandom: (target: Uint8Array) => void;
  /** Shown by SMBIOS as the firmware's version. */
  readonly version: string;
}

/**
 * Writes everything that a kernel entered by the 64-bit boot protocol finds in memory, and gives the registers of its entry.
 * Nothing is written when an error is thrown.
 * @throws BootError with the code of what is wrong.
 */
export function writeBootStructures(memory: BootMemory, options: BootOptions): BootRegisters {
  const memorySizeBytes = memory.regions.reduce((sum, region) => sum + region.sizeBytes, 0);
  checkCpuCount(options.cpuCount);
  checkCommandLine(options);
  checkEntry(options.kernel.entry, memorySizeBytes);
  if (options.initrd !== undefined) assertInitrd(options.initrd, memorySizeBytes);
  for (const { address, bytes } of bootStructures(options, memorySizeBytes)) memory.writeBytes(address, bytes);
  return bootRegisters(options.kernel.entry);
}

interface Placed {
  readonly address: number;
  readonly bytes: Uint8Array;
}

function bootStructures(options: BootOptions, memorySizeBytes: number): Placed[] {
  const { kernel, initrd, commandLine } = options;
  const seed = new Uint8Array(RNG_SEED_SIZE);
  options.fillRandom(seed);
  const setupData = setupDataChain([{ type: SETUP_DATA_TYPE.RNG_SEED, data: seed }]);
  const zeroPage = bootParamsPage({
    commandLineAddress: COMMAND_LINE_ADDRESS,
    commandLineSizeBytes: commandLine.lengthBytes,
    e820: e820Map(memorySizeBytes),
    acpiRsdpAddress: ACPI_TABLES_ADDRESS,
    setupDataAddress: setupData.address,
    ...(initrd !== undefined && { initrd: { start: initrd.address, sizeBytes: initrd.sizeBytes } }),
    ...(kernel.setupHeader !== undefined && { setupHeader: kernel.setupHeader }),
  });
  return [
    { address: GDT_ADDRESS, bytes: bootGdt() },
    { address: IDT_ADDRESS, bytes: bootIdt() },
    { address: ZERO_PAGE_ADDRESS, bytes: zeroPage },
    identityPageTables(),
    { address: COMMAND_LINE_ADDRESS, bytes: commandLine.encode() },
    setupData,
    { address: MP_TABLE_ADDRESS, bytes: mpConfigurationTable(options.cpuCount) },
    { address: MP_FLOATING_POINTER_ADDRESS, bytes: mpFloatingPointer() },
    ...acpiTables(options),
    { address: SMBIOS_ADDRESS, bytes: smbiosTables(options.version) },
  ];
}

function checkCommandLine({ kernel, commandLine }: BootOptions): void {
  const maxBytes = Math.min(kernel.commandLineMaxBytes, COMMAND_LINE_MAX_BYTES);
  const { lengthBytes } = commandLine;
  if (lengthBytes > maxBytes) {
    throw new BootError('COMMAND_LINE_TOO_LONG', `the command line has ${lengthBytes} bytes; the limit is ${maxBytes}`);
  }
}

function checkCpuCount(cpuCount: number): void {
  if (!Number.isInteger(cpuCount) || cpuCount < 1 || cpuCount > CPU_COUNT_MAX) {
    throw new BootError('BAD_CPU_COUNT', `${cpuCount} processors; the machine has 1 to ${CPU_COUNT_MAX}`);
  }
}

/** The identity map covers what lies below 4 GiB: the entry must be in low RAM, and above all boot structures. */
function checkEntry(entry: number, memorySizeBytes: number): void {
  const [low] = memoryRanges(memorySizeBytes);
  if (low === undefined || entry < EXTENDED_MEMORY_START || entry >= low.sizeBytes) {
    const address = `0x${entry.toString(16)}`;
    throw new BootError(
      'KERNEL_ENTRY_OUTSIDE_RAM',
      `the kernel's entry ${address} is not in RAM between 1 MiB and 4 GiB`,
    );
  }
}

function assertInitrd({ address, sizeBytes }: LoadedInitrd, memorySizeBytes: number): void {
  const inside = memoryRanges(memorySizeBytes).some(
    (ram) => address >= ram.start && address + sizeBytes <= ram.start + ram.sizeBytes,
  );
  assert(inside, 'the initial ramdisk is not inside RAM');
  assert(address >= EXTENDED_MEMORY_START, 'the initial ramdisk overlaps the boot structures');
}

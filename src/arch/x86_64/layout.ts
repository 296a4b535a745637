import { LOW_MEMORY_END } from '#kernel/guest-ram.ts';
import type { SystemResources } from '#resources/system-allocator.ts';
import { alignUp, GiB, KiB, MiB } from '#util/bits.ts';
import { BootError } from './boot-error.ts';

/**
 * The x86_64 machine: every guest-physical address, I/O port and interrupt number, each stated here once. The map is that of
 * crosvm; what comes from a standard names it. docs/machine.md shows it as a whole.
 */

export interface AddressRange {
  readonly start: number;
  readonly sizeBytes: number;
}

export const PAGE_SIZE = 4 * KiB;

// ---- Boot structures in the first MiB ----

/** GDT and IDT that the kernel replaces at once. */
export const GDT_ADDRESS = 0x1500;
export const IDT_ADDRESS = 0x1530;

/** `struct boot_params`, one page; %rsi at the kernel's entry. */
export const ZERO_PAGE_ADDRESS = 0x7000;
export const ZERO_PAGE_SIZE = PAGE_SIZE;

/** The stack at the entry grows down from here, into the 276 bytes at the end of the zero page that have no meaning. */
export const BOOT_STACK_POINTER = 0x8000;

/** Identity map of the first 4 GiB: one PML4, one PDPT, four page directories. */
export const PML4_ADDRESS = 0x9000;
export const PDPT_ADDRESS = 0xa000;
export const PAGE_DIRECTORIES_ADDRESS = 0xb000;
export const PAGE_DIRECTORY_COUNT = 4;

/** The command line with its NUL; Linux's COMMAND_LINE_SIZE on x86 is 2048. */
export const COMMAND_LINE_ADDRESS = 0x20000;
export const COMMAND_LINE_AREA_SIZE = 0x800;
/** Without the NUL. */
export const COMMAND_LINE_MAX_BYTES = COMMAND_LINE_AREA_SIZE - 1;

/** The chain of `struct setup_data`. */
export const SETUP_DATA_ADDRESS = COMMAND_LINE_ADDRESS + COMMAND_LINE_AREA_SIZE;
export const SETUP_DATA_END = 634 * KiB;

/**
 * The MP configuration table, and its floating pointer in the last 16 bytes of base memory: MultiProcessor Specification
 * 1.4 §4 makes the operating system search the last KiB of base memory.
 */
export const MP_TABLE_ADDRESS = 634 * KiB;
export const MP_FLOATING_POINTER_ADDRESS = 640 * KiB - 16;

/** End of base memory. From here to 1 MiB there is RAM behind the addresses, but it is not the kernel's to use. */
export const BASE_MEMORY_END = 640 * KiB;
export const EXTENDED_MEMORY_START = LOW_MEMORY_END;

/** RSDP and the ACPI tables: ACPI 6.3 §5.2.5.1 makes the operating system search 0xe0000..0xfffff at 16-byte steps. */
export const ACPI_TABLES_ADDRESS = 0xe0000;
export const ACPI_TABLES_END = 0xf0000;

/** SMBIOS 3.0 entry point and structures; DSP0134 3.2 §5.2 has it searched in 0xf0000..0xfffff at 16-byte steps. */
export const SMBIOS_ADDRESS = 0xf0000;
export const SMBIOS_END = EXTENDED_MEMORY_START;

// ---- RAM and MMIO ----

/** RAM below 4 GiB ends here at the latest; what remains follows at 4 GiB. */
export const LOW_RAM_END_MAX = 0xd000_0000;
export const HIGH_RAM_START = 4 * GiB;

/** Low MMIO of PCI devices, up to the enhanced configuration space. */
export const PCI_LOW_MMIO: AddressRange = { start: LOW_RAM_END_MAX, sizeBytes: 0xf400_0000 - LOW_RAM_END_MAX };
/** PCI Express enhanced configuration space: 1 MiB a bus. Only bus 0 has functions. */
export const PCI_ECAM: AddressRange = { start: 0xf400_0000, sizeBytes: 64 * MiB };
export const PCI_BUS_COUNT = PCI_ECAM.sizeBytes / MiB;

/** 82093AA data sheet §3.0: the default base of the first I/O APIC. */
export const IO_APIC_ADDRESS = 0xfec0_0000;
export const IO_APIC_PIN_COUNT = 24;
/** The ID register's reset value: with no firmware, nothing programs another one. */
export const IO_APIC_ID = 0;
/** Intel SDM vol. 3 §11.4.1. */
export const LOCAL_APIC_ADDRESS = 0xfee0_0000;

/** Three pages that KVM needs for real mode on Intel processors, and one for its identity map. */
export const KVM_TSS_ADDRESS = 0xfeff_d000;
export const KVM_IDENTITY_MAP_ADDRESS = 0xfeff_c000;

/** The most guest-physical address bits that the machine uses, whatever the host's processor could do. */
export const PHYSICAL_ADDRESS_BITS_MAX = 46;

/** High MMIO starts at a multiple of this, so that large pages can map it. */
const HIGH_MMIO_ALIGNMENT = 2 * MiB;

/** Less than this leaves no room for the boot structures and any kernel at 2 MiB. */
export const MEMORY_SIZE_MIN = 4 * MiB;
/** Leaves the upper half of the address space to high MMIO. */
export const MEMORY_SIZE_MAX = 2 ** (PHYSICAL_ADDRESS_BITS_MAX - 1);

/** xAPIC identifiers are 8 bits and 0xff addresses all; the MP table knows no others. */
export const CPU_COUNT_MAX = 255;

/**
 * The ranges of guest-physical addresses with RAM behind them. The first one runs through the gap of 640 KiB..1 MiB: the
 * firmware tables lie there, which e820 keeps from the kernel.
 * @throws BootError `BAD_MEMORY_SIZE` when the size is not a multiple of 4 KiB in [4 MiB, 32 TiB].
 */
export function memoryRanges(memorySizeBytes: number): AddressRange[] {
  if (!Number.isSafeInteger(memorySizeBytes) || memorySizeBytes % PAGE_SIZE !== 0) {
    throw new BootError('BAD_MEMORY_SIZE', `memory size of ${memorySizeBytes} bytes is not a multiple of 4 KiB`);
  }
  if (memorySizeBytes < MEMORY_SIZE_MIN || memorySizeBytes > MEMORY_SIZE_MAX) {
    throw new BootError('BAD_MEMORY_SIZE', `memory size of ${memorySizeBytes} bytes is not between 4 MiB and 32 TiB`);
  }
  const lowSizeBytes = Math.min(memorySizeBytes, LOW_RAM_END_MAX);
  const ranges: AddressRange[] = [{ start: 0, sizeBytes: lowSizeBytes }];
  if (memorySizeBytes > lowSizeBytes) {
    ranges.push({ start: HIGH_RAM_START, sizeBytes: memorySizeBytes - lowSizeBytes });
  }
  return ranges;
}

/** High MMIO of PCI devices: from the end of RAM, 4 GiB at least, to the end of the guest-physical address space. */
export function highMmioRange(memorySizeBytes: number, physicalAddressBits: number): AddressRange {
  const last = memoryRanges(memorySizeBytes).at(-1);
  const ramEnd = last === undefined ? 0 : last.start + last.sizeBytes;
  const start = alignUp(Math.max(ramEnd, HIGH_RAM_START), HIGH_MMIO_ALIGNMENT);
  const end = 2 ** Math.min(physicalAddressBits, PHYSICAL_ADDRESS_BITS_MAX);
  return { start, sizeBytes: Math.max(0, end - start) };
}

// ---- I/O ports ----

export const PORT = {
  PIC_MASTER: 0x20,
  PIT: 0x40,
  I8042: 0x60,
  /** NMI status and control, speaker gate and PIT channel 2. */
  SYSTEM_CONTROL: 0x61,
  RTC: 0x70,
  POST_CODE: 0x80,
  /** Written to by kernels to pass the time of a bus cycle, where 0x80 is taken. */
  IO_DELAY: 0xed,
  PIC_SLAVE: 0xa0,
  DEBUG_CONSOLE: 0x402,
  DEBUG_EXIT: 0xf4,
  /** Edge/level control of the two PICs. */
  PIC_ELCR: 0x4d0,
  /** The ACPI power management block, ACPI_PM below. */
  ACPI_PM: 0x600,
  /** Configuration mechanism #1: address and data. 0xcf9 is another device's when it is accessed as a byte. */
  PCI_CONFIG: 0xcf8,
  /** Reset control of the PIIX family: 0x06 resets the machine. */
  RESET_CONTROL: 0xcf9,
  /** First port that PCI devices may be given; they have all from there on. */
  PCI_IO: 0xc000,
} as const;

export const PORT_COUNT = 0x1_0000;
export const PCI_CONFIG_SIZE = 8;

/** The value that resets the machine when written to PORT.RESET_CONTROL: full reset, by a rise of bit 2. */
export const RESET_CONTROL_VALUE = 0x06;

export interface SerialPort {
  readonly name: 'COM1' | 'COM2' | 'COM3' | 'COM4';
  readonly ioBase: number;
  readonly irq: number;
}

export const SERIAL_PORT_SIZE = 8;
export const SERIAL_PORTS: readonly SerialPort[] = [
  { name: 'COM1', ioBase: 0x3f8, irq: 4 },
  { name: 'COM2', ioBase: 0x2f8, irq: 3 },
  { name: 'COM3', ioBase: 0x3e8, irq: 4 },
  { name: 'COM4', ioBase: 0x2e8, irq: 3 },
];

/** Registers of the ACPI power management block, relative to PORT.ACPI_PM: ACPI 6.3 §4.8.3. */
export const ACPI_PM = {
  /** PM1a_STS (2 bytes) and PM1a_EN (2 bytes). */
  PM1_EVENT: { offset: 0x0, sizeBytes: 4 },
  PM1_CONTROL: { offset: 0x4, sizeBytes: 2 },
  /** 3.579545 MHz, 32 bits. */
  PM_TIMER: { offset: 0x8, sizeBytes: 4 },
} as const;

export const ACPI_PM_SIZE = 0xc;

/** SLP_TYP that, written with SLP_EN to PM1a_CNT, powers the machine off; \_S5 tells the kernel. */
export const SLEEP_TYPE_S5 = 5;

/** CMOS byte that holds the century; the FADT points at it. */
export const RTC_CENTURY_INDEX = 0x32;

// ---- Interrupts: ISA interrupt n is global system interrupt n is I/O APIC pin n, the timer's too ----

export const IRQ = {
  PIT: 0,
  PIC_CASCADE: 2,
  RTC: 8,
  /** System control interrupt: level, active low, as ACPI 6.3 §5.2.9 demands. */
  SCI: 9,
} as const;

export const ISA_IRQ_COUNT = 16;

/**
 * Where the INTx pins of PCI devices arrive, level-triggered: the I/O APIC's first pins that no ISA interrupt has. They do not
 * reach the 8259 pair, which a kernel uses only if it is told to ignore the I/O APIC.
 */
export const PCI_INTX_GSIS: readonly number[] = [16, 17, 18, 19];

/** GSIs beyond the I/O APIC's pins are messages; KVM's routing table has 4096 entries, the chips' own among them. */
const MESSAGE_GSI_COUNT = 4096 - 64;

/** What the machine has to give to its devices. */
export function systemResources(highMmio: AddressRange): SystemResources {
  return {
    lowMmio: PCI_LOW_MMIO,
    highMmio,
    ioPorts: { start: PORT.PCI_IO, sizeBytes: PORT_COUNT - PORT.PCI_IO },
    gsis: { first: IO_APIC_PIN_COUNT, count: MESSAGE_GSI_COUNT },
  };
}

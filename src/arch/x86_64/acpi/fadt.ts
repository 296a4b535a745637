import { ACPI_PM, IRQ, PORT, RESET_CONTROL_VALUE, RTC_CENTURY_INDEX } from '../layout.ts';
import { ascii, concatBytes, u8, u16, u32, u64, zeros } from '../table-bytes.ts';
import { systemDescriptionTable } from './sdt.ts';

/** Fixed ACPI description table, ACPI 6.3 §5.2.9, table 5-33: major version 6, minor 3, 276 bytes. */
const VERSION = { MAJOR: 6, MINOR: 3 } as const;

/** §5.2.9.3. */
const BOOT_ARCHITECTURE = { LEGACY_DEVICES: 1 << 0, VGA_NOT_PRESENT: 1 << 2, NO_ASPM: 1 << 4 } as const;

/** Table 5-34. */
const FLAG = {
  WBINVD: 1 << 0,
  /** HLT enters C1. */
  PROC_C1: 1 << 2,
  /** No sleep button in the fixed registers. */
  SLP_BUTTON: 1 << 5,
  /** No RTC wake-up status in the fixed registers. */
  FIX_RTC: 1 << 6,
  /** The PM timer has 32 bits. */
  TMR_VAL_EXT: 1 << 8,
  RESET_REG_SUP: 1 << 10,
} as const;

/** Latencies above these say that there is no C2 and no C3. */
const NO_C2_LATENCY_US = 101;
const NO_C3_LATENCY_US = 1001;

/** Generic address structure, §5.2.3.2: a register in I/O space. */
const SYSTEM_IO = 1;
const ACCESS_SIZE = { BYTE: 1, WORD: 2, DWORD: 3 } as const;

export interface FadtPointers {
  readonly facsAddress: number;
  readonly dsdtAddress: number;
}

/**
 * The FADT. The machine is always in ACPI mode (no SMI command port); events other than the fixed ones do not exist (no GPE
 * block). The power button is a fixed one. The 8042 flag stays clear: port 0x64 resets the machine, but there is no keyboard
 * controller behind it, and a kernel told of one would wait for it.
 */
export function fadt({ facsAddress, dsdtAddress }: FadtPointers): Uint8Array {
  const { PM1_EVENT, PM1_CONTROL, PM_TIMER } = ACPI_PM;
  const body = concatBytes(
    u32(facsAddress),
    u32(dsdtAddress),
    u8(0), // reserved
    u8(0), // preferred PM profile: unspecified
    u16(IRQ.SCI),
    u32(0), // SMI_CMD
    zeros(4), // ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT
    u32(PORT.ACPI_PM + PM1_EVENT.offset),
    u32(0), // PM1b event block
    u32(PORT.ACPI_PM + PM1_CONTROL.offset),
    u32(0), // PM1b control block
    u32(0), // PM2 control block
    u32(PORT.ACPI_PM + PM_TIMER.offset),
    u32(0), // GPE0
    u32(0), // GPE1
    u8(PM1_EVENT.sizeBytes),
    u8(PM1_CONTROL.sizeBytes),
    u8(0), // PM2 control length
    u8(PM_TIMER.sizeBytes),
    zeros(4), // GPE0 length, GPE1 length, GPE1 base, CST_CNT
    u16(NO_C2_LATENCY_US),
    u16(NO_C3_LATENCY_US),
    zeros(4), // FLUSH_SIZE, FLUSH_STRIDE: WBINVD works
    zeros(2), // DUTY_OFFSET, DUTY_WIDTH
    zeros(2), // DAY_ALRM, MON_ALRM
    u8(RTC_CENTURY_INDEX),
    u16(BOOT_ARCHITECTURE.LEGACY_DEVICES | BOOT_ARCHITECTURE.VGA_NOT_PRESENT | BOOT_ARCHITECTURE.NO_ASPM),
    u8(0), // reserved
    u32(FLAG.WBINVD | FLAG.PROC_C1 | FLAG.SLP_BUTTON | FLAG.FIX_RTC | FLAG.TMR_VAL_EXT | FLAG.RESET_REG_SUP),
    ioRegister(PORT.RESET_CONTROL, 1, ACCESS_SIZE.BYTE),
    u8(RESET_CONTROL_VALUE),
    u16(0), // ARM boot architecture
    u8(VERSION.MINOR),
    u64(0), // X_FIRMWARE_CTRL: the 32-bit field is used
    u64(dsdtAddress),
    ioRegister(PORT.ACPI_PM + PM1_EVENT.offset, PM1_EVENT.sizeBytes, ACCESS_SIZE.WORD),
    noRegister(), // PM1b event
    ioRegister(PORT.ACPI_PM + PM1_CONTROL.offset, PM1_CONTROL.sizeBytes, ACCESS_SIZE.WORD),
    noRegister(), // PM1b control
    noRegister(), // PM2 control
    ioRegister(PORT.ACPI_PM + PM_TIMER.offset, PM_TIMER.sizeBytes, ACCESS_SIZE.DWORD),
    noRegister(), // GPE0
    noRegister(), // GPE1
    noRegister(), // sleep control
    noRegister(), // sleep status
    ascii('CROSVMTS', 8), // hypervisor vendor identity
  );
  return systemDescriptionTable('FACP', VERSION.MAJOR, body);
}

function ioRegister(port: number, sizeBytes: number, accessSize: number): Uint8Array {
  return concatBytes(u8(SYSTEM_IO), u8(sizeBytes * 8), u8(0), u8(accessSize), u64(port));
}

function noRegister(): Uint8Array {
  return zeros(12);
}

/** Firmware ACPI control structure, §5.2.10: 64 bytes, aligned to 64, without a checksum; nothing here is ever used. */
export function facs(): Uint8Array {
  const FACS_SIZE = 64;
  const FACS_VERSION = 2;
  const beforeVersion = concatBytes(ascii('FACS'), u32(FACS_SIZE), zeros(24), u8(FACS_VERSION));
  return concatBytes(beforeVersion, zeros(FACS_SIZE - beforeVersion.length));
}

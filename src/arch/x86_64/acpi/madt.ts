import { assert } from '#util/assert.ts';
import { IO_APIC_ADDRESS, IO_APIC_ID, IRQ, LOCAL_APIC_ADDRESS } from '../layout.ts';
import { concatBytes, u8, u16, u32 } from '../table-bytes.ts';
import { systemDescriptionTable } from './sdt.ts';

/** Multiple APIC description table, ACPI 6.3 §5.2.12. */
const REVISION = 5;
/** There are two 8259s, to be masked when the APICs are used. */
const PCAT_COMPAT = 1;
const ENTRY = { LOCAL_APIC: 0, IO_APIC: 1, SOURCE_OVERRIDE: 2, LOCAL_APIC_NMI: 4 } as const;
const ENABLED = 1;
const ISA_BUS = 0;
/** MPS INTI flags, table 5-50: polarity in bits 1..0, trigger mode in bits 3..2. */
const INTI = { CONFORMING: 0, LEVEL_ACTIVE_LOW: 0xf } as const;
const LINT1 = 1;
const ALL_PROCESSORS = 0xff;

/**
 * The MADT for processors with the local APIC ids 0 .. cpuCount - 1. The timer's interrupt 0 arrives at pin 0 as all other
 * ISA interrupts do at theirs, so the only override is the SCI's: level, active low.
 */
export function madt(cpuCount: number): Uint8Array {
  assert(cpuCount >= 1 && cpuCount <= ALL_PROCESSORS, 'local APIC ids exceed 8 bits');
  const processors = Array.from({ length: cpuCount }, (_, apicId) => localApic(apicId));
  const body = concatBytes(
    u32(LOCAL_APIC_ADDRESS),
    u32(PCAT_COMPAT),
    ...processors,
    concatBytes(u8(ENTRY.IO_APIC), u8(12), u8(IO_APIC_ID), u8(0), u32(IO_APIC_ADDRESS), u32(0)),
    sourceOverride(IRQ.SCI, INTI.LEVEL_ACTIVE_LOW),
    concatBytes(u8(ENTRY.LOCAL_APIC_NMI), u8(6), u8(ALL_PROCESSORS), u16(INTI.CONFORMING), u8(LINT1)),
  );
  return systemDescriptionTable('APIC', REVISION, body);
}

/** The ACPI processor identifier equals the local APIC's. */
function localApic(apicId: number): Uint8Array {
  return concatBytes(u8(ENTRY.LOCAL_APIC), u8(8), u8(apicId), u8(apicId), u32(ENABLED));
}

function sourceOverride(irq: number, flags: number): Uint8Array {
  return concatBytes(u8(ENTRY.SOURCE_OVERRIDE), u8(10), u8(ISA_BUS), u8(irq), u32(irq), u16(flags));
}

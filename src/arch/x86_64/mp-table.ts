import { intxGsi } from '#devices/pci/intx.ts';
import { DEVICES_PER_BUS } from '#devices/pci/pci-address.ts';
import { INTERRUPT_PIN } from '#devices/pci/registers.ts';
import { assert } from '#util/assert.ts';
import {
  BASE_MEMORY_END,
  IO_APIC_ADDRESS,
  IO_APIC_ID,
  IRQ,
  ISA_IRQ_COUNT,
  LOCAL_APIC_ADDRESS,
  MP_FLOATING_POINTER_ADDRESS,
  MP_TABLE_ADDRESS,
  PCI_INTX_GSIS,
} from './layout.ts';
import { ascii, concatBytes, sealChecksum, u8, u16, u32, zeros } from './table-bytes.ts';

/** Intel MultiProcessor Specification 1.4: §4.1 floating pointer, §4.2 header, §4.3 entries. */
const SPECIFICATION_REVISION = 4;
const FLOATING_POINTER_CHECKSUM = 10;
const HEADER = { SIZE: 44, CHECKSUM: 7 } as const;
const ENTRY = { PROCESSOR: 0, BUS: 1, IO_APIC: 2, IO_INTERRUPT: 3, LOCAL_INTERRUPT: 4 } as const;
const CPU_FLAG = { ENABLED: 1, BOOT_PROCESSOR: 2 } as const;
const IO_APIC_ENABLED = 1;
const INTERRUPT = { VECTORED: 0, NMI: 1, EXT_INT: 3 } as const;
/** Polarity in bits 1..0, trigger mode in bits 3..2; 0 is what the bus conforms to. */
const FLAGS = { CONFORMING: 0, LEVEL_ACTIVE_LOW: 0xf } as const;
/** The bus numbers of PCI are those of the bus itself, so that ISA comes after. */
const PCI_BUS = 0;
const ISA_BUS = 1;
/** A PCI source: device in bits 6..2, pin in bits 1..0; appendix D.3. */
const PCI_SOURCE_DEVICE_SHIFT = 2;
const ALL_LOCAL_APICS = 0xff;

const LOCAL_APIC_VERSION = 0x14;
/** 82093AA. */
const IO_APIC_VERSION = 0x20;
/** Family 6, and the features FPU and APIC; the processors say the rest by CPUID. */
const CPU_SIGNATURE = 0x600;
const CPU_FEATURES = (1 << 0) | (1 << 9);

/** The MP configuration table for processors whose local APIC ids are 0 .. cpuCount - 1; 0 is the boot processor. */
export function mpConfigurationTable(cpuCount: number): Uint8Array {
  assert(cpuCount >= 1 && cpuCount <= ALL_LOCAL_APICS, 'local APIC ids exceed the MP table');
  const entries = [
    ...Array.from({ length: cpuCount }, (_, apicId) => processor(apicId)),
    concatBytes(u8(ENTRY.BUS), u8(PCI_BUS), ascii('PCI', 6)),
    concatBytes(u8(ENTRY.BUS), u8(ISA_BUS), ascii('ISA', 6)),
    concatBytes(u8(ENTRY.IO_APIC), u8(IO_APIC_ID), u8(IO_APIC_VERSION), u8(IO_APIC_ENABLED), u32(IO_APIC_ADDRESS)),
    ...isaInterrupts(),
    ...pciInterrupts(),
    interrupt(ENTRY.LOCAL_INTERRUPT, { type: INTERRUPT.EXT_INT, sourceIrq: 0, apicId: 0, input: 0 }),
    interrupt(ENTRY.LOCAL_INTERRUPT, { type: INTERRUPT.NMI, sourceIrq: 0, apicId: ALL_LOCAL_APICS, input: 1 }),
  ];
  const sizeBytes = entries.reduce((sum: number, entry) => sum + entry.length, HEADER.SIZE);
  assert(MP_TABLE_ADDRESS + sizeBytes <= MP_FLOATING_POINTER_ADDRESS, 'the MP table reaches its floating pointer');
  const table = concatBytes(
    ascii('PCMP'),
    u16(sizeBytes),
    u8(SPECIFICATION_REVISION),
    u8(0), // checksum
    ascii('CROSVMTS', 8),
    ascii('CROSVM-TS', 12),
    u32(0), // OEM table
    u16(0),
    u16(entries.length),
    u32(LOCAL_APIC_ADDRESS),
    u16(0), // extended table
    u8(0),
    u8(0),
    ...entries,
  );
  return sealChecksum(table, HEADER.CHECKSUM);
}

/** The floating pointer to a table at MP_TABLE_ADDRESS. Feature byte 2 is 0: no IMCR, virtual wire mode. */
export function mpFloatingPointer(): Uint8Array {
  const pointer = concatBytes(
    ascii('_MP_'),
    u32(MP_TABLE_ADDRESS),
    u8(1), // length in paragraphs of 16 bytes
    u8(SPECIFICATION_REVISION),
    u8(0), // checksum
    zeros(5),
  );
  assert(MP_FLOATING_POINTER_ADDRESS + pointer.length === BASE_MEMORY_END, 'the floating pointer is not last');
  return sealChecksum(pointer, FLOATING_POINTER_CHECKSUM);
}

function processor(apicId: number): Uint8Array {
  return concatBytes(
    u8(ENTRY.PROCESSOR),
    u8(apicId),
    u8(LOCAL_APIC_VERSION),
    u8(CPU_FLAG.ENABLED | (apicId === 0 ? CPU_FLAG.BOOT_PROCESSOR : 0)),
    u32(CPU_SIGNATURE),
    u32(CPU_FEATURES),
    zeros(8),
  );
}

/** ISA interrupt n at pin n. The cascade of the two PICs is no interrupt of its own. */
function isaInterrupts(): Uint8Array[] {
  const interrupts: Uint8Array[] = [];
  for (let irq = 0; irq < ISA_IRQ_COUNT; irq++) {
    if (irq === IRQ.PIC_CASCADE) continue;
    const flags = irq === IRQ.SCI ? FLAGS.LEVEL_ACTIVE_LOW : FLAGS.CONFORMING;
    const source = { type: INTERRUPT.VECTORED, sourceIrq: irq, apicId: IO_APIC_ID, input: irq };
    interrupts.push(interrupt(ENTRY.IO_INTERRUPT, source, flags));
  }
  return interrupts;
}

/** INTA of every device, which is the pin that every function has: all pins would not fit with the most processors. */
function pciInterrupts(): Uint8Array[] {
  return Array.from({ length: DEVICES_PER_BUS - 1 }, (_, index) => {
    const device = index + 1;
    return interrupt(ENTRY.IO_INTERRUPT, {
      type: INTERRUPT.VECTORED,
      sourceBus: PCI_BUS,
      sourceIrq: device << PCI_SOURCE_DEVICE_SHIFT,
      apicId: IO_APIC_ID,
      input: intxGsi(device, INTERRUPT_PIN.INTA, PCI_INTX_GSIS),
    });
  });
}

interface InterruptSource {
  /** ISA by default. */
  readonly sourceBus?: number;
  readonly type: number;
  readonly sourceIrq: number;
  /** Destination: I/O APIC or local APIC. */
  readonly apicId: number;
  /** INTINn of an I/O APIC, LINTINn of a local APIC. */
  readonly input: number;
}

function interrupt(entry: number, source: InterruptSource, flags: number = FLAGS.CONFORMING): Uint8Array {
  return concatBytes(
    u8(entry),
    u8(source.type),
    u16(flags),
    u8(source.sourceBus ?? ISA_BUS),
    u8(source.sourceIrq),
    u8(source.apicId),
    u8(source.input),
  );
}

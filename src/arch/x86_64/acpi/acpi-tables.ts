import { assert } from '#util/assert.ts';
import { alignUp } from '#util/bits.ts';
import { ACPI_TABLES_ADDRESS, ACPI_TABLES_END, type AddressRange } from '../layout.ts';
import { dsdt } from './dsdt.ts';
import { facs, fadt } from './fadt.ts';
import { madt } from './madt.ts';
import { mcfg } from './mcfg.ts';
import { rsdp, xsdt } from './rsdp.ts';

export interface PlacedTable {
  readonly signature: string;
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** The FACS must be so aligned (ACPI 6.3 §5.2.10); the others need not be, and are too. */
const TABLE_ALIGNMENT = 64;

export interface AcpiOptions {
  readonly cpuCount: number;
  /** The high MMIO of PCI devices; of no size when there is none. */
  readonly highMmio: AddressRange;
}

/** All ACPI tables of a machine, from ACPI_TABLES_ADDRESS on; the RSDP is the first. */
export function acpiTables({ cpuCount, highMmio }: AcpiOptions): PlacedTable[] {
  const placed: PlacedTable[] = [];
  let next = ACPI_TABLES_ADDRESS + TABLE_ALIGNMENT;
  const place = (signature: string, bytes: Uint8Array): number => {
    const address = next;
    placed.push({ signature, address, bytes });
    next = alignUp(address + bytes.length, TABLE_ALIGNMENT);
    return address;
  };
  const facsAddress = place('FACS', facs());
  const dsdtAddress = place('DSDT', dsdt(highMmio));
  const fadtAddress = place('FACP', fadt({ facsAddress, dsdtAddress }));
  const madtAddress = place('APIC', madt(cpuCount));
  const mcfgAddress = place('MCFG', mcfg());
  const xsdtAddress = place('XSDT', xsdt([fadtAddress, madtAddress, mcfgAddress]));
  assert(next <= ACPI_TABLES_END, 'the ACPI tables do not fit their area');
  return [{ signature: 'RSD PTR ', address: ACPI_TABLES_ADDRESS, bytes: rsdp(xsdtAddress) }, ...placed];
}

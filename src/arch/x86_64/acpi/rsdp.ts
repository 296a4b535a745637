import { ascii, concatBytes, sealChecksum, u8, u32, u64, zeros } from '../table-bytes.ts';
import { systemDescriptionTable } from './sdt.ts';

/** ACPI 6.3 §5.2.5.3: revision 2 has a checksum over the first 20 bytes and one over all 36. */
const RSDP = { SIZE: 36, REVISION: 2, CHECKSUM: 8, VERSION_1_SIZE: 20, EXTENDED_CHECKSUM: 32 } as const;

/** The root system description pointer. There is no RSDT: whatever reads revision 2 uses the XSDT. */
export function rsdp(xsdtAddress: number): Uint8Array {
  const pointer = concatBytes(
    ascii('RSD PTR '),
    u8(0), // checksum
    ascii('CRSVTS'),
    u8(RSDP.REVISION),
    u32(0), // RSDT
    u32(RSDP.SIZE),
    u64(xsdtAddress),
    u8(0), // extended checksum
    zeros(3),
  );
  sealChecksum(pointer.subarray(0, RSDP.VERSION_1_SIZE), RSDP.CHECKSUM);
  return sealChecksum(pointer, RSDP.EXTENDED_CHECKSUM);
}

/** The extended system description table: ACPI 6.3 §5.2.8. */
export function xsdt(tableAddresses: readonly number[]): Uint8Array {
  return systemDescriptionTable('XSDT', 1, concatBytes(...tableAddresses.map((address) => u64(address))));
}

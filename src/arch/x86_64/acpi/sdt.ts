import { ascii, concatBytes, sealChecksum, u8, u32 } from '../table-bytes.ts';

/** Who the tables say made them. */
const OEM = { ID: 'CRSVTS', TABLE_ID: 'CROSVMTS', REVISION: 1, CREATOR_ID: 'CRVT', CREATOR_REVISION: 1 } as const;

const HEADER = { SIZE: 36, CHECKSUM: 9 } as const;

/** A system description table: the header of ACPI 6.3 §5.2.6 with its checksum, and `body`. */
export function systemDescriptionTable(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const table = concatBytes(
    ascii(signature, 4),
    u32(HEADER.SIZE + body.length),
    u8(revision),
    u8(0), // checksum
    ascii(OEM.ID, 6),
    ascii(OEM.TABLE_ID, 8),
    u32(OEM.REVISION),
    ascii(OEM.CREATOR_ID, 4),
    u32(OEM.CREATOR_REVISION),
    body,
  );
  return sealChecksum(table, HEADER.CHECKSUM);
}

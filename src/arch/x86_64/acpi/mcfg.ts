import { PCI_BUS_COUNT, PCI_ECAM } from '../layout.ts';
import { concatBytes, u8, u16, u64, zeros } from '../table-bytes.ts';
import { systemDescriptionTable } from './sdt.ts';

/** The table of the enhanced configuration space: PCI Firmware Specification 3.2 §4.1.2. */
const REVISION = 1;
const SEGMENT_0 = 0;
const FIRST_BUS = 0;

export function mcfg(): Uint8Array {
  const range = concatBytes(u64(PCI_ECAM.start), u16(SEGMENT_0), u8(FIRST_BUS), u8(PCI_BUS_COUNT - 1), zeros(4));
  return systemDescriptionTable('MCFG', REVISION, concatBytes(zeros(8), range));
}

import { assert } from '#util/assert.ts';
import { alignUp } from '#util/bits.ts';
import { SMBIOS_ADDRESS, SMBIOS_END } from './layout.ts';
import { concatBytes, sealChecksum, u8, u16, u32, u64, zeros } from './table-bytes.ts';

/** DMTF DSP0134 3.2: §5.2.2 64-bit entry point, §7.1 type 0, §7.2 type 1, §7.45 type 127. */
const VERSION = { MAJOR: 3, MINOR: 2, REVISION: 0 } as const;
const ENTRY_POINT = { SIZE: 0x18, CHECKSUM: 5, REVISION: 1 } as const;
const TYPE = { FIRMWARE: 0, SYSTEM: 1, END: 127 } as const;
const HEADER_SIZE = 4;
/** BIOS characteristics, §7.1.1: bit 3, "characteristics are not supported"; extension byte 2 bit 4, virtual machine. */
const CHARACTERISTICS_NOT_SUPPORTED = 1 << 3;
const EXTENSION_2_VIRTUAL_MACHINE = 1 << 4;
const RELEASE_NOT_SUPPORTED = 0xff;
/** §7.2.2: power switch. */
const WAKE_UP_POWER_SWITCH = 6;

const VENDOR = 'crosvm-ts';
/** Kernels take firmware without a plausible year for too old to trust its tables. */
const RELEASE_DATE = '01/01/2020';

/** Entry point and structures as one block for SMBIOS_ADDRESS. `version` is shown as that of the firmware. */
export function smbiosTables(version: string): Uint8Array {
  const structures = concatBytes(firmware(version), system(), structure(TYPE.END, 2, zeros(0), []));
  const structuresAddress = SMBIOS_ADDRESS + alignUp(ENTRY_POINT.SIZE, 16);
  assert(structuresAddress + structures.length <= SMBIOS_END, 'the SMBIOS structures do not fit their area');
  const entryPoint = concatBytes(
    Uint8Array.from('_SM3_', (letter) => letter.charCodeAt(0)),
    u8(0), // checksum
    u8(ENTRY_POINT.SIZE),
    u8(VERSION.MAJOR),
    u8(VERSION.MINOR),
    u8(VERSION.REVISION),
    u8(ENTRY_POINT.REVISION),
    u8(0),
    u32(structures.length),
    u64(structuresAddress),
  );
  sealChecksum(entryPoint, ENTRY_POINT.CHECKSUM);
  return concatBytes(entryPoint, zeros(structuresAddress - SMBIOS_ADDRESS - entryPoint.length), structures);
}

function firmware(version: string): Uint8Array {
  const body = concatBytes(
    u8(1), // vendor
    u8(2), // version
    u16(0), // starting segment: none
    u8(3), // release date
    u8(0), // ROM size
    u64(CHARACTERISTICS_NOT_SUPPORTED),
    u8(0),
    u8(EXTENSION_2_VIRTUAL_MACHINE),
    ...[0, 1, 2, 3].map(() => u8(RELEASE_NOT_SUPPORTED)), // releases of firmware and embedded controller
    u16(0), // extended ROM size
  );
  return structure(TYPE.FIRMWARE, 0, body, [VENDOR, version, RELEASE_DATE]);
}

function system(): Uint8Array {
  const body = concatBytes(
    u8(1), // manufacturer
    u8(2), // product
    u8(0), // version
    u8(0), // serial number
    zeros(16), // UUID: not present
    u8(WAKE_UP_POWER_SWITCH),
    u8(0), // SKU
    u8(0), // family
  );
  return structure(TYPE.SYSTEM, 1, body, [VENDOR, VENDOR]);
}

/** A structure: header, formatted area, then its strings, each with a NUL and the set with another one; §6.1. */
function structure(type: number, handle: number, body: Uint8Array, strings: readonly string[]): Uint8Array {
  const text = strings.length === 0 ? '\0\0' : `${strings.join('\0')}\0\0`;
  return concatBytes(
    u8(type),
    u8(HEADER_SIZE + body.length),
    u16(handle),
    body,
    Uint8Array.from(text, (letter) => letter.charCodeAt(0)),
  );
}

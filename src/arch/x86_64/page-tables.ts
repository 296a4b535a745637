import { MiB } from '#util/bits.ts';
import { PAGE_DIRECTORIES_ADDRESS, PAGE_DIRECTORY_COUNT, PAGE_SIZE, PDPT_ADDRESS, PML4_ADDRESS } from './layout.ts';

/** Page-table entry bits, Intel SDM vol. 3 §4.5.4. */
const ENTRY = { PRESENT: 0x01, WRITABLE: 0x02, LARGE_PAGE: 0x80 } as const;
const ENTRIES_PER_TABLE = 512;
const LARGE_PAGE_SIZE = 2 * MiB;

export interface PageTables {
  /** Where `bytes` go; also the value of CR3. */
  readonly address: number;
  readonly bytes: Uint8Array;
}

/**
 * Page tables that map the first 4 GiB to themselves with pages of 2 MiB: the 64-bit boot protocol asks for the kernel, the
 * zero page and the command line to be identity-mapped; the rest serves what a kernel touches before it has its own tables.
 */
export function identityPageTables(): PageTables {
  const end = PAGE_DIRECTORIES_ADDRESS + PAGE_DIRECTORY_COUNT * PAGE_SIZE;
  const bytes = new Uint8Array(end - PML4_ADDRESS);
  const view = new DataView(bytes.buffer);
  const setEntry = (tableAddress: number, index: number, value: number): void => {
    view.setBigUint64(tableAddress - PML4_ADDRESS + index * 8, BigInt(value), true);
  };
  const table = ENTRY.PRESENT | ENTRY.WRITABLE;
  setEntry(PML4_ADDRESS, 0, PDPT_ADDRESS + table);
  for (let directory = 0; directory < PAGE_DIRECTORY_COUNT; directory++) {
    setEntry(PDPT_ADDRESS, directory, PAGE_DIRECTORIES_ADDRESS + directory * PAGE_SIZE + table);
  }
  for (let page = 0; page < PAGE_DIRECTORY_COUNT * ENTRIES_PER_TABLE; page++) {
    setEntry(PAGE_DIRECTORIES_ADDRESS, page, page * LARGE_PAGE_SIZE + table + ENTRY.LARGE_PAGE);
  }
  return { address: PML4_ADDRESS, bytes };
}

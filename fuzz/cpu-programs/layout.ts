/** Where programs and what surrounds them lie, in every mode. */

export const PAGE = 4096;

/** The supervisor's physical addresses, which are its virtual ones too. */
export const SUPERVISOR = {
  PML4: 0x1_0000,
  PDPT: 0x1_1000,
  DIRECTORY: 0x1_2000,
  TABLE: 0x1_3000,
  GDT: 0x2_0000,
  IDT: 0x2_1000,
  TSS: 0x2_2000,
  /** One HLT per vector. */
  HANDLERS: 0x2_3000,
  /** IRETQ: where interrupts go that a program must not notice. */
  RETURN: 0x2_3200,
  STACK: 0x2_8000,
  /** Below this nothing but stack and what the processor pushes may change while user code runs. */
  END: 0x3_0000,
} as const;
/** Bytes below SUPERVISOR.STACK that exceptions and interrupts of user code may write. */
export const STACK_BYTES = 128;

/** All RAM that the machines have: a program in real mode may reach every byte of it, with 32-bit addresses too. */
export const RAM_SIZE = 0x11_0000;

/** Numbers of virtual pages from CODE on; those of physical ones are the same, but for aliases. */
const PAGES = {
  CODE: 0,
  DATA: 3,
  READ_ONLY: 5,
  SUPERVISOR: 6,
  ABSENT: 7,
  STACK: 8,
  ALIAS_DATA: 10,
  ALIAS_CODE: 11,
} as const;
/** Physical pages of a program. */
export const PROGRAM_PAGES = 10;
/** Virtual pages that its addresses are chosen from. */
export const VIRTUAL_PAGES = 14;
export const CODE_PAGES = 3;
/** What lies between a byte of code and its alias. */
export const ALIAS_DISTANCE = PAGES.ALIAS_CODE * PAGE;

const PTE = { PRESENT: 1, WRITABLE: 2, USER: 4, ACCESSED: 0x20, DIRTY: 0x40, LARGE: 0x80 } as const;
const READ = PTE.PRESENT | PTE.ACCESSED;
const WRITE = READ | PTE.WRITABLE | PTE.DIRTY;
const TABLE_BITS = WRITE | PTE.USER;

/** Per virtual page: physical page and bits of its entry. Accessed and dirty stand from the start, so that the tables never change. */
const MAPPED: readonly (readonly [page: number, physical: number, bits: number])[] = [
  ...[0, 1, 2, 3, 4, 8, 9].map((page) => [page, page, WRITE | PTE.USER] as const),
  [PAGES.READ_ONLY, PAGES.READ_ONLY, READ | PTE.USER],
  [PAGES.SUPERVISOR, PAGES.SUPERVISOR, WRITE],
  [PAGES.ALIAS_DATA, PAGES.DATA, WRITE | PTE.USER],
  ...[0, 1, 2].map((page) => [PAGES.ALIAS_CODE + page, page, WRITE | PTE.USER] as const),
];

/** Linear and physical addresses of a program's first page. In real mode they are the same. */
export const PROGRAM = {
  LINEAR: 0x40_0000,
  PHYSICAL: 0x10_0000,
  REAL: 0x3_0000,
  STACK_OFFSET: 0x9000,
  /** From here on pages are filled with data; before it is code. */
  DATA_OFFSET: CODE_PAGES * PAGE,
  /** User code may not change these. */
  CLOSED_START: PAGES.READ_ONLY * PAGE,
  CLOSED_END: (PAGES.SUPERVISOR + 1) * PAGE,
} as const;

export const SELECTOR = {
  CODE: 0x10,
  USER_CODE32: 0x23,
  USER_DATA: 0x2b,
  USER_CODE64: 0x33,
  TSS: 0x40,
} as const;

/** Accessed from the start, so that the table never changes. */
const DESCRIPTORS: readonly (readonly [selector: number, descriptor: bigint])[] = [
  [SELECTOR.CODE, 0x00af_9b00_0000_ffffn],
  [0x18, 0x00cf_9300_0000_ffffn],
  [SELECTOR.USER_CODE32 & ~7, 0x00cf_fb00_0000_ffffn],
  [SELECTOR.USER_DATA & ~7, 0x00cf_f300_0000_ffffn],
  [SELECTOR.USER_CODE64 & ~7, 0x00af_fb00_0000_ffffn],
];

export const VECTORS = { NMI: 2, BREAKPOINT: 3, OVERFLOW: 4, INTERRUPT: 0x40 } as const;

function setGate(view: DataView, vector: number, handler: number, dpl: number): void {
  const at = SUPERVISOR.IDT + 16 * vector;
  view.setUint32(at, (handler & 0xffff) | (SELECTOR.CODE << 16), true);
  view.setUint32(at + 4, (handler & 0xffff_0000) | 0x8e00 | (dpl << 13), true);
}

/** The supervisor of long mode: page tables, descriptors, gates, stack. */
export function writeSupervisor(view: DataView): void {
  const entry = (table: number, index: number, value: number) =>
    view.setBigUint64(table + 8 * index, BigInt(value), true);
  entry(SUPERVISOR.PML4, 0, SUPERVISOR.PDPT | TABLE_BITS);
  entry(SUPERVISOR.PDPT, 0, SUPERVISOR.DIRECTORY | TABLE_BITS);
  entry(SUPERVISOR.DIRECTORY, 0, WRITE | PTE.LARGE);
  entry(SUPERVISOR.DIRECTORY, PROGRAM.LINEAR / 0x20_0000, SUPERVISOR.TABLE | TABLE_BITS);
  for (const [page, physical, bits] of MAPPED) {
    entry(SUPERVISOR.TABLE, page, (PROGRAM.PHYSICAL + physical * PAGE) | bits);
  }
  for (const [selector, descriptor] of DESCRIPTORS) view.setBigUint64(SUPERVISOR.GDT + selector, descriptor, true);
  for (let vector = 0; vector < 256; vector++) {
    const isOpen = vector === VECTORS.BREAKPOINT || vector === VECTORS.OVERFLOW;
    setGate(view, vector, SUPERVISOR.HANDLERS + vector, isOpen ? 3 : 0);
    view.setUint8(SUPERVISOR.HANDLERS + vector, 0xf4);
  }
  for (const vector of [VECTORS.NMI, VECTORS.INTERRUPT]) setGate(view, vector, SUPERVISOR.RETURN, 0);
  view.setUint16(SUPERVISOR.RETURN, 0xcf48, true);
  view.setBigUint64(SUPERVISOR.TSS + 4, BigInt(SUPERVISOR.STACK), true);
}

/** Real mode's interrupt table, whose handlers are those of `writeSupervisor`. */
export function writeInterruptTable(view: DataView): void {
  for (let vector = 0; vector < 256; vector++) {
    view.setUint16(4 * vector, vector, true);
    view.setUint16(4 * vector + 2, SUPERVISOR.HANDLERS >> 4, true);
    view.setUint8(SUPERVISOR.HANDLERS + vector, 0xf4);
  }
}

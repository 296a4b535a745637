/**
 * Where everything lives in the CPU's WebAssembly memory. Offsets are in bytes. The state block comes first, then the
 * translation look-aside buffers, the decoded code, and last guest RAM, so that one index reaches them all.
 */

/** The state block: general registers at 0, so that a register's offset is 8 times its number. */
export const STATE = {
  GPR: 0x000,
  /** Temporaries of one instruction. */
  TEMP: 0x080,
  /** Segment bases ES, CS, SS, DS, FS, GS. */
  SEGMENT_BASE: 0x0c0,
  /** Virtual address of the page that code runs in: RIP is this plus the offset kept beside each record. */
  CODE_PAGE: 0x0f0,
  /** RIP whenever the engine is not running. */
  RIP: 0x0f8,
  /** Lazy flags: kind and size, result, second operand, carry in. */
  CC_OP: 0x100,
  CC_CARRY: 0x104,
  CC_DST: 0x108,
  CC_SRC: 0x110,
  /** RFLAGS without the six arithmetic flags. */
  FLAGS: 0x118,
  /** Code-page table of the page that code runs in. */
  CODE_TABLE: 0x11c,
  /** Address of an access that the fast path could not do. */
  ADDRESS: 0x120,
  /** The record that ran last when the engine stopped. */
  RECORD: 0x128,
  /** Instructions that may still run before the engine looks up; counted down at branches. */
  BUDGET: 0x12c,
  /** Bases of the data and the code TLB in force. */
  TLB: 0x130,
  CODE_TLB: 0x134,
  /** Constant 0, an operand for addresses without base. */
  ZERO: 0x138,
  /** Bytes of an access that is done piecewise: it crosses a page or reaches a device. */
  BOUNCE: 0x140,
  /** Second half of 128-bit results of multiplication and division. */
  WIDE: 0x160,
  XMM: 0x200,
  /** Two temporaries for SSE operands in memory. */
  XMM_TEMP: 0x300,
  MXCSR: 0x340,
  /** Not zero until a helper has found that CR0 and CR4 let XMM registers be used; set again when either is written. */
  SSE_UNCHECKED: 0x344,
  /** Per segment register a word that is not zero where legacy code may not reach all of 4 GiB through it. */
  SEGMENT_CHECKED: 0x348,
  /** Not zero when code has changed since the last look-up by something that the code under way did. */
  CODE_CHANGED: 0x364,
  /** PAUSE instructions that have run; whoever counts sets it back. */
  PAUSES: 0x360,
  /** x87 registers and words, laid out by float/. */
  X87: 0x400,
  /** 128 bytes through which x87 memory operands pass. */
  X87_MEMORY: 0x600,
} as const;

/** Where a locked operation that is not done in place has its operand and, 8 bytes further, what CMPXCHG compares with. */
export const LOCKED_OPERANDS: number = STATE.BOUNCE + 8;
/** A locked operation's number: its kind, and its size in so many bits below. */
export const LOCKED_SIZE_BITS = 2;

/**
 * Data TLB: one table per access mode; that of legacy code is emptied when its mode changes. A page's entry is in one of two places: what is
 * entered last has the first, and what was there moves to its alternate. *Measured*: where the guest's addresses fall by chance, two pages
 * of each system call had the same place, and evicted each other six times in each.
 * The page's number is folded once, for programs copy between places whose distance is a power of two. Folded by 12 bits, pages next to each
 * other have neither place in common: an access across them, looked up by its first byte, must not find the second.
 */
export const TLB = {
  BASE: 0x10000,
  ENTRIES: 1024,
  ENTRY_SHIFT: 5,
  /** Page address for which reads hit; all ones when none. */
  READ: 0,
  WRITE: 8,
  /** Added to the low 32 bits of the virtual address it gives the place in this memory. */
  ADDEND: 16,
  /** Number of address bits inside the page that the translation comes from: 12, 21 or 30. */
  PAGE_SHIFT: 20,
  /** 1 when the page is global: loading CR3 keeps the entry. */
  GLOBAL: 24,
  FOLD_SHIFT: 12,
  /** From a place to its alternate and back: exclusive or. */
  ALTERNATE: 512 << 5,
  MODE_SIZE: 1024 << 5,
  MODES: 4,
} as const;

/** Where in a table the first place for an address is, from the low half of that. */
export const tlbEntryOffset = (low: number): number =>
  ((low ^ (low >>> TLB.FOLD_SHIFT)) >>> (12 - TLB.ENTRY_SHIFT)) & ((TLB.ENTRIES - 1) << TLB.ENTRY_SHIFT);

/** Who accesses: the tables differ in what user pages allow. */
export const ACCESS_MODE = { SUPERVISOR: 0, SUPERVISOR_AC: 1, USER: 2, LEGACY: 3 } as const;

/**
 * Code TLB: virtual page to the table of its decoded instructions, in one of two places as in the data TLB. One for supervisor and one for user mode in 64-bit code; the
 * third is for all other code and is emptied when its mode changes.
 */
export const CODE_TLB = {
  BASE: 0x30000,
  ENTRIES: 1024,
  ENTRY_SHIFT: 4,
  PAGE: 0,
  TABLE: 8,
  /** Address bits inside the page that the translation comes from. */
  PAGE_SHIFT: 12,
  /** 1 when the page is global. */
  GLOBAL: 13,
  ALTERNATE: 512 << 4,
  MODE_SIZE: 1024 << 4,
  MODES: 3,
} as const;

/** Where in a code TLB the first place for an address is. */
export const codeTlbEntryOffset = (low: number): number =>
  ((low >>> 12) & (CODE_TLB.ENTRIES - 1)) << CODE_TLB.ENTRY_SHIFT;

/**
 * How bytes are decoded: 64-bit code is 0, all other is a sum. Code decoded under one key never runs under another.
 * ADDS_BASES: a segment other than FS and GS has a base or does not reach over all of 4 GiB. STACK16: SS.B is clear.
 */
export const CODE_KEY = { LONG: 0, LEGACY: 1, CODE16: 2, ADDS_BASES: 4, STACK16: 8, COUNT: 16 } as const;

const MIB = 1 << 20;

/** Parts of a page that are remembered and compared as one: 64 bytes. */
export const CODE_CHUNK_SHIFT = 6;

/** Decoded code: 16-byte records, 2 bytes of place per record, a table of 4096 record addresses per code page. */
export const CODE = {
  RECORD_SIZE: 16,
  RECORDS: 1 * MIB,
  RECORDS_SIZE: 64 * MIB,
  PLACES: 65 * MIB,
  TABLES: 73 * MIB,
  TABLE_SIZE: 4096 * 4,
  MAX_PAGES: 3072,
  /** For each table, what the bytes of its page were when they were decoded. */
  COPIES: 121 * MIB,
  COPY_SIZE: 4096,
  /** For each table 64 bits: which chunks of the page were decoded. */
  CHUNKS: 133 * MIB,
  CHUNKS_SIZE: 8,
} as const;

/** Guest RAM begins here, at a multiple of the host's and of WebAssembly's page size. */
export const RAM_BASE = 136 * MIB;

/** What fits behind RAM_BASE in a 4 GiB memory is more; the machine's low RAM ends at 3328 MiB. */
export const MAX_RAM_BYTES = 3328 * MIB;

/** Fields of a record. */
export const RECORD = { OP: 0, A: 2, B: 4, C: 6, IMM: 8, IMM_HIGH: 12 } as const;

export const GPR = {
  RAX: 0,
  RCX: 8,
  RDX: 16,
  RBX: 24,
  RSP: 32,
  RBP: 40,
  RSI: 48,
  RDI: 56,
  R8: 64,
  R11: 88,
} as const;

export const SEGMENT = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const;

/** Arithmetic flags and control flags of RFLAGS, SDM vol. 1 §3.4.3. */
export const FLAG = {
  CF: 0x0001,
  PF: 0x0004,
  AF: 0x0010,
  ZF: 0x0040,
  SF: 0x0080,
  TF: 0x0100,
  IF: 0x0200,
  DF: 0x0400,
  OF: 0x0800,
  IOPL: 0x3000,
  NT: 0x4000,
  RF: 0x10000,
  VM: 0x20000,
  AC: 0x40000,
  VIF: 0x80000,
  VIP: 0x100000,
  ID: 0x200000,
} as const;
export const ARITHMETIC_FLAGS = 0x08d5;

/** Operand sizes as indices: 8, 16, 32 and 64 bits. */
export type Size = 0 | 1 | 2 | 3;
export const SIZES: readonly Size[] = [0, 1, 2, 3];
export const bitsOf = (size: Size): number => 8 << size;

/** Kinds of lazy flags; the stored value is the kind with the operand size above it. */
export const CC = {
  /** All six flags as bits in CC_SRC; CC_DST is zero exactly when ZF is set. */
  EXPLICIT: 0,
  ADD: 1,
  ADC: 2,
  SUB: 3,
  SBB: 4,
  LOGIC: 5,
  /** CC_SRC is the carry, which INC and DEC keep. */
  INC: 6,
  DEC: 7,
  /** CC_SRC is the operand shifted by one bit less: its top bit is the carry. */
  SHL: 8,
  /** As SHL; its lowest bit is the carry. */
  SHR: 9,
  /** CC_SRC is nonzero when the product did not fit. */
  MUL: 10,
} as const;
export const CC_SIZE_SHIFT = 4;
export const ccOp = (kind: number, size: Size): number => kind | (size << CC_SIZE_SHIFT);

/** Why the engine stopped. */
export const STOP = {
  /** RIP holds an address that has no decoded code yet. */
  LOOKUP: 1,
  /** The budget is used up; RIP is exact. */
  POLL: 2,
  /** An exception is pending, raised by the record in RECORD. */
  FAULT: 3,
  /** RECORD ended its instruction with a change that needs another look at the state; RIP is exact. */
  RESYNC: 4,
  /** A debugger's breakpoint is at RIP. */
  DEBUGGER: 5,
} as const;

/** How compiled code leaves for the interpreter besides STOP codes; STATE.RECORD says where. */
export const EXIT = {
  /** That record is next. */
  CONTINUE: 16,
  /** Its direct branch is taken. */
  DIRECT: 17,
  /** It goes to the address in STATE.RIP. */
  INDIRECT: 18,
} as const;

/** The general-purpose registers, in the order of their numbers in encodings. */
export const GPR_NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

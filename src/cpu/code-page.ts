/** What is kept of a page of decoded code, and of its records. */
import { CODE } from './layout.ts';
import { CALL, CMP_JCC, CMP_JCC_IMM, JCC, JMP, TEST_JCC, TEST_JCC_IMM } from './uops/control.ts';

export interface CodePage {
  /** Physical address. */
  readonly page: number;
  readonly table: number;
  /** Two words, one bit per 64 bytes that were decoded. */
  readonly chunks: Int32Array;
  /** What those bytes were, as words. Both are in the engine's memory. */
  readonly copy: Int32Array;
  /** Pages whose last instruction ends here. */
  readonly dependents: Set<CodePage>;
}

/** The page whose table is the one of this number; nothing is decoded of it. */
export function createCodePage(memory: ArrayBufferLike, page: number, index: number): CodePage {
  const chunks = new Int32Array(memory, CODE.CHUNKS + index * CODE.CHUNKS_SIZE, CODE.CHUNKS_SIZE / 4).fill(0);
  const copy = new Int32Array(memory, CODE.COPIES + index * CODE.COPY_SIZE, CODE.COPY_SIZE / 4);
  return { page, table: CODE.TABLES + index * CODE.TABLE_SIZE, chunks, copy, dependents: new Set() };
}

/** Whether a record's immediate is a link to another record: it is one in direct branches only. */
export function isBranchLink(operation: number): boolean {
  return LINKED.has(operation & 0xffff);
}

const LINKED: ReadonlySet<number> = new Set([
  JMP,
  CALL,
  ...JCC,
  ...[CMP_JCC, TEST_JCC, CMP_JCC_IMM, TEST_JCC_IMM].flatMap((table) => [...table.values()]),
]);

export function isMarked({ chunks }: CodePage, chunk: number): boolean {
  return (((chunks[chunk >> 5] as number) >>> (chunk & 31)) & 1) !== 0;
}

/** What crash.c has written by a certain operation, and what has to be found of it after a crash. */

export const BLOCK_BYTES = 4096;
export const AREA_BLOCKS = 2048;
const RUN_MAX = 16;
const WORDS = BLOCK_BYTES / 4;
const MAGIC = 0x6b73_6964;
const FILES = 16;

/** More than a guest can have begun without its last line having come. */
export const UNTOLD_MAX = 1000;
/** Operations on files are told one by one, so that few are done without. */
const UNTOLD_FILES_MAX = 4;

/** One life of a guest: it began with operation `first`, and said last that `durable` is on the medium; undefined: it said nothing. */
export interface Life {
  readonly first: number;
  readonly durable: number | undefined;
}

export type Operation = {
  readonly kind: 'write' | 'zero' | 'discard';
  readonly first: number;
  readonly count: number;
};

function mix(seed: number, a: number, b: number): number {
  let x = seed ^ Math.imul(a, 0x9e37_79b1) ^ Math.imul(b, 0x85eb_ca6b);
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb_352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846c_a68b);
  return (x ^ (x >>> 16)) >>> 0;
}

const runOf = (seed: number, operation: number): number => 1 + (mix(seed, operation, 1) % RUN_MAX);

export function operationOf(seed: number, operation: number): Operation {
  const count = runOf(seed, operation);
  const first = mix(seed, operation, 2) % (AREA_BLOCKS - count + 1);
  const kind = (['zero', 'discard'] as const)[mix(seed, operation, 3) % 8] ?? 'write';
  return { kind, first, count };
}

/** What an operation writes to a block. */
export function blockOf(seed: number, operation: number, index: number): Buffer {
  const words = new Uint32Array(WORDS);
  words.set([MAGIC, operation, index]);
  let x = mix(seed, operation, index) | 1;
  for (let at = 3; at < WORDS; at++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[at] = x;
  }
  return Buffer.from(words.buffer);
}

export function fileOf(seed: number, operation: number): Buffer {
  return Buffer.concat(Array.from({ length: runOf(seed, operation) }, (_, index) => blockOf(seed, operation, index)));
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);
/** In place of an operation: the block reads as zeros. */
const ZERO = -1;

/** What each block may have: the last durable operation on it, or one that was begun after that. */
function allowedBlocks(seed: number, lives: readonly Life[]): Set<number>[] {
  const allowed = Array.from({ length: AREA_BLOCKS }, () => new Set([ZERO]));
  for (const { first, durable = first - 1 } of lives) {
    for (let operation = first; operation < durable + UNTOLD_MAX; operation++) {
      const { kind, first: start, count } = operationOf(seed, operation);
      for (const block of allowed.slice(start, start + count)) {
        // What was discarded may stay.
        if (operation <= durable && kind !== 'discard') block.clear();
        block.add(kind === 'write' ? operation : ZERO);
      }
    }
  }
  return allowed;
}

/** What is wrong with the content of a disk; empty when nothing that was durable is lost. */
export function blockProblems(content: Buffer, seed: number, lives: readonly Life[]): string[] {
  if (content.length < AREA_BLOCKS * BLOCK_BYTES) return [`the disk has ${content.length} bytes`];
  return allowedBlocks(seed, lives).flatMap((allowed, index) => {
    const block = content.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
    const operation = block.equals(ZEROS) ? ZERO : block.readUInt32LE(4);
    const isWhole = operation === ZERO || block.equals(blockOf(seed, operation, index));
    if (isWhole && allowed.has(operation)) return [];
    const found = isWhole ? `operation ${operation}` : 'what no operation wrote';
    return [`block ${index} has ${found}; it may have ${[...allowed].slice(0, 4).join(', ')}`];
  });
}

/** The same of the files of a folder, by name. A file gets its name when its content is durable. */
export function fileProblems(files: ReadonlyMap<string, Buffer>, seed: number, lives: readonly Life[]): string[] {
  const named = [...files].filter(([name]) => /^\d+$/.test(name));
  const broken = named.filter(([name, content]) => !content.equals(fileOf(seed, Number(name))));
  const missing = lives.flatMap(({ first, durable = first - 1 }) => {
    const kept = Array.from({ length: FILES - UNTOLD_FILES_MAX }, (_, age) => durable - age);
    return kept.filter((operation) => operation >= first && !files.has(String(operation)));
  });
  return [...broken.map(([name]) => `file ${name} is not whole`), ...missing.map((name) => `file ${name} is lost`)];
}

/** Locked read-modify-writes that the engine cannot do in place, and those of 16 bytes (SDM vol. 3 §8.1.2). */
import { LOCKED_OPERANDS, LOCKED_SIZE_BITS, RAM_BASE, type Size, STATE } from './layout.ts';
import type { MemoryUnit } from './memory-unit.ts';
import { RMW_KINDS, type RmwKind } from './uops/locked.ts';

/** What takes more than an atomic operation of WebAssembly, where there are several processors. */
export interface WideLocks {
  /**
   * Compares 16 bytes at a place that is a multiple of 16 with those at `block`, and if they are the same replaces them by those at
   * `block` + 16, as one step. The old bytes are at `block` afterwards.
   */
  compareExchange16(place: number, block: number): void;
  /** Does this while no other processor runs guest code. */
  alone(action: () => void): void;
}

interface Operation {
  readonly kind: RmwKind;
  readonly size: Size;
  readonly operand: bigint;
  /** What CMPXCHG compares with. */
  readonly expected: bigint;
}

/** Where the 16 bytes to compare with stand, and then those to store. */
export const EXCHANGE_BLOCK: number = STATE.X87_MEMORY;
const BLOCK_QUAD = EXCHANGE_BLOCK >> 3;
const BOUNCE_QUAD = STATE.BOUNCE >> 3;
const OPERANDS_QUAD = LOCKED_OPERANDS >> 3;
const PAGE_SIZE = 4096;

/** What the operation leaves in memory; more bits than its size may be set. */
function resultOf({ kind, operand, expected }: Operation, old: bigint): bigint {
  switch (kind) {
    case 'add':
      return old + operand;
    case 'sub':
      return old - operand;
    case 'and':
      return old & operand;
    case 'or':
      return old | operand;
    case 'xor':
      return old ^ operand;
    case 'xchg':
      return operand;
    case 'cmpxchg':
      return old === expected ? operand : old;
  }
}

export class LockedAccess {
  readonly #mmu: MemoryUnit;
  /** All memory, 8 bytes each. */
  readonly #quads: BigInt64Array;
  readonly #wide: WideLocks | undefined;

  /** Without `wide` there are no other processors. */
  constructor(mmu: MemoryUnit, wide: WideLocks | undefined) {
    this.#mmu = mmu;
    this.#quads = new BigInt64Array(mmu.words.buffer);
    this.#wide = wide;
  }

  /** The engine's slow path, on the address in STATE.ADDRESS; see `slowLocked` of uops/emit.ts. */
  run(record: number, what: number): number {
    const size = (what & (2 ** LOCKED_SIZE_BITS - 1)) as Size;
    const sizeBytes = 1 << size;
    const bits = 8 << size;
    const operation = {
      kind: RMW_KINDS[what >> LOCKED_SIZE_BITS] as RmwKind,
      size,
      operand: BigInt.asUintN(bits, this.#quads[OPERANDS_QUAD] as bigint),
      expected: BigInt.asUintN(bits, this.#quads[OPERANDS_QUAD + 1] as bigint),
    };
    const place = this.#mmu.load(sizeBytes, true);
    if (place === 0) return 0;
    const physical = place - RAM_BASE;
    if (place === STATE.BOUNCE || !this.#mmu.map.isWritable(physical)) {
      return this.#piecewise(operation, record) ? STATE.BOUNCE : 0;
    }
    const mayWriteUnseen = this.#mmu.watcher.mayWriteUnseen(physical - (physical % PAGE_SIZE));
    if (mayWriteUnseen && (place & (sizeBytes - 1)) === 0) return place;
    this.#mmu.changing(physical, sizeBytes, record);
    const old = this.#inMemory(place, operation);
    this.#mmu.watcher.changed(physical, sizeBytes);
    this.#quads[BOUNCE_QUAD] = BigInt.asIntN(64, old);
    return STATE.BOUNCE;
  }

  /** An operation at STATE.ADDRESS for a helper; the old value, unsigned, or null after a fault. */
  change(kind: RmwKind, size: Size, operand: bigint, record: number): bigint | null {
    this.#quads[OPERANDS_QUAD] = BigInt.asIntN(64, operand);
    return this.#change(kind, size, record);
  }

  /** CMPXCHG of 8 bytes at STATE.ADDRESS with the operands at LOCKED_OPERANDS; the old value, or null after a fault. */
  exchange8(record: number): bigint | null {
    return this.#change('cmpxchg', 3, record);
  }

  #change(kind: RmwKind, size: Size, record: number): bigint | null {
    const quads = this.#quads;
    const place = this.run(record, (RMW_KINDS.indexOf(kind) << LOCKED_SIZE_BITS) | size);
    if (place === 0) return null;
    const bits = 8 << size;
    if (place === STATE.BOUNCE) return BigInt.asUintN(bits, quads[BOUNCE_QUAD] as bigint);
    const operand = BigInt.asUintN(bits, quads[OPERANDS_QUAD] as bigint);
    const expected = BigInt.asUintN(bits, quads[OPERANDS_QUAD + 1] as bigint);
    return this.#inQuad(place, { kind, size, operand, expected });
  }

  /** CMPXCHG of 16 bytes at STATE.ADDRESS, a multiple of 16, with EXCHANGE_BLOCK; the old bytes are there then. False: it faults. */
  exchange16(record: number): boolean {
    const place = this.#mmu.load(16, true);
    if (place === 0) return false;
    const physical = place - RAM_BASE;
    if (place === STATE.BOUNCE || !this.#mmu.map.isWritable(physical)) return this.#exchange16OfDevice(record);
    this.#mmu.changing(physical, 16, record);
    if (this.#wide !== undefined) this.#wide.compareExchange16(place, EXCHANGE_BLOCK);
    else this.#plainExchange16(place);
    this.#mmu.watcher.changed(physical, 16);
    return true;
  }

  #inMemory(place: number, operation: Operation): bigint {
    const sizeBytes = 1 << operation.size;
    if ((place & 7) + sizeBytes <= 8) return this.#inQuad(place, operation);
    const wide = this.#wide;
    if (wide !== undefined && (place & 15) + sizeBytes <= 16) return this.#inPair(place, operation, wide);
    let old = 0n;
    const action = (): void => {
      old = this.#plain(place, operation);
    };
    if (wide === undefined) action();
    else wide.alone(action);
    return old;
  }

  /** Inside 8 bytes that are aligned: the others of them are exchanged for themselves. */
  #inQuad(place: number, operation: Operation): bigint {
    const quads = this.#quads;
    const index = place >>> 3;
    const shift = BigInt((place & 7) * 8);
    const mask = (1n << BigInt(8 << operation.size)) - 1n;
    for (;;) {
      const before = BigInt.asUintN(64, quads[index] as bigint);
      const old = (before >> shift) & mask;
      const after = (before & ~(mask << shift)) | ((resultOf(operation, old) & mask) << shift);
      if (BigInt.asUintN(64, Atomics.compareExchange(quads, index, before, after)) === before) return old;
    }
  }

  /** The same inside 16 bytes. */
  #inPair(place: number, operation: Operation, wide: WideLocks): bigint {
    const quads = this.#quads;
    const base = (place & ~15) >>> 0;
    const shift = BigInt((place & 15) * 8);
    const mask = (1n << BigInt(8 << operation.size)) - 1n;
    for (;;) {
      const before = this.#pair(base >>> 3);
      const old = (before >> shift) & mask;
      const after = (before & ~(mask << shift)) | ((resultOf(operation, old) & mask) << shift);
      [before, before >> 64n, after, after >> 64n].forEach((quad, index) => {
        quads[BLOCK_QUAD + index] = BigInt.asIntN(64, quad);
      });
      wide.compareExchange16(base, EXCHANGE_BLOCK);
      if (this.#pair(BLOCK_QUAD) === before) return old;
    }
  }

  #pair(index: number): bigint {
    const quads = this.#quads;
    return BigInt.asUintN(64, quads[index] as bigint) | (BigInt.asUintN(64, quads[index + 1] as bigint) << 64n);
  }

  /** Nobody else runs. */
  #plain(place: number, operation: Operation): bigint {
    const { bytes } = this.#mmu;
    const sizeBytes = 1 << operation.size;
    let old = 0n;
    for (let at = sizeBytes - 1; at >= 0; at--) old = (old << 8n) | BigInt(bytes[place + at] as number);
    const result = resultOf(operation, old);
    for (let at = 0; at < sizeBytes; at++) bytes[place + at] = Number((result >> BigInt(8 * at)) & 0xffn);
    return old;
  }

  #plainExchange16(place: number): void {
    const quads = this.#quads;
    const old = [quads[place >>> 3] as bigint, quads[(place >>> 3) + 1] as bigint] as const;
    if (old[0] === quads[BLOCK_QUAD] && old[1] === quads[BLOCK_QUAD + 1]) {
      quads[place >>> 3] = quads[BLOCK_QUAD + 2] as bigint;
      quads[(place >>> 3) + 1] = quads[BLOCK_QUAD + 3] as bigint;
    }
    [quads[BLOCK_QUAD], quads[BLOCK_QUAD + 1]] = old;
  }

  /** A load and a store, for what crosses pages or is no memory. The old value is at STATE.BOUNCE then; false after a fault. */
  #piecewise(operation: Operation, record: number): boolean {
    const { words } = this.#mmu;
    const sizeBytes = 1 << operation.size;
    let done = false;
    const action = (): void => {
      done = this.#loadAndStore(operation, record);
    };
    const crosses = ((words[STATE.ADDRESS >> 2] as number) & (PAGE_SIZE - 1)) + sizeBytes > PAGE_SIZE;
    // With devices there is nothing to lock.
    if (crosses && this.#wide !== undefined) this.#wide.alone(action);
    else action();
    return done;
  }

  #loadAndStore(operation: Operation, record: number): boolean {
    const quads = this.#quads;
    const bits = 8 << operation.size;
    const place = this.#mmu.load(1 << operation.size, true);
    if (place === 0) return false;
    this.#mmu.bytes.copyWithin(STATE.BOUNCE, place, place + bits / 8);
    const old = BigInt.asUintN(bits, quads[BOUNCE_QUAD] as bigint);
    quads[BOUNCE_QUAD] = BigInt.asIntN(64, resultOf(operation, old));
    const stored = this.#mmu.store(bits / 8, record);
    quads[BOUNCE_QUAD] = BigInt.asIntN(64, old);
    return stored;
  }

  /** 16 bytes of no memory, or of memory that only looks like some: what is read is stored, or the new bytes. */
  #exchange16OfDevice(record: number): boolean {
    const { bytes } = this.#mmu;
    const place = this.#mmu.load(16, true);
    if (place !== STATE.BOUNCE) bytes.copyWithin(STATE.BOUNCE, place, place + 16);
    this.#plainExchange16(STATE.BOUNCE);
    return this.#mmu.store(16, record);
  }
}

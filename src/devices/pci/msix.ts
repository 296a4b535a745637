import { assert } from '#util/assert.ts';
import { isAligned } from '#util/bits.ts';
import type { PciCapability } from './pci-configuration.ts';
import { CAPABILITY } from './registers.ts';

/** Message control, PCI 3.0 §6.8.2.3. */
const CONTROL = { ENABLE: 1 << 15, FUNCTION_MASK: 1 << 14 } as const;
/** A bit of ours beside them: a word of 0 is a new function's. */
const INITIALISED = 1 << 0;
const CONTROL_WRITABLE = CONTROL.ENABLE | CONTROL.FUNCTION_MASK;
const VECTOR_COUNT_MAX = 2048;
/** Registers of the capability that hold a BAR's index in the low 3 bits: §6.8.2.4, §6.8.2.5. */
const PLACE_ALIGNMENT = 8;

/** A table entry, §6.8.2.6 to §6.8.2.9, in words. */
const ENTRY = { ADDRESS_LOW: 0, ADDRESS_HIGH: 1, DATA: 2, VECTOR_CONTROL: 3, WORDS: 4, BYTES: 16 } as const;
const VECTOR_CONTROL_MASKED = 1;
/** The low bits of the address are read-only and 0. */
const ENTRY_WRITABLE = [0xffff_fffc, 0xffff_ffff, 0xffff_ffff, VECTOR_CONTROL_MASKED] as const;
/** The pending bits come in words of 64, §6.8.2.10. */
const PENDING_BITS_PER_QWORD = 64;

/** Where a function's vectors are. */
export interface MsixLayout {
  /** 1 to 2048. */
  readonly vectorCount: number;
  readonly table: { readonly bar: number; readonly offset: number };
  readonly pending: { readonly bar: number; readonly offset: number };
}

/** How the interrupts of a function leave it. */
export interface MsixInterrupts {
  /** Called once for each vector, when it is first used; false when there is none left, which silences the vector. */
  allocateVector(vector: number): boolean;
  /** What `trigger` is to send from now on. An address of 2^53 and more is the nearest double. */
  route(vector: number, address: number, data: number): void;
  trigger(vector: number): void;
}

function pendingBytes(vectorCount: number): number {
  return Math.ceil(vectorCount / PENDING_BITS_PER_QWORD) * 8;
}

/** The capability of §6.8.2; its message control is what MsixConfig is told of. */
export function msixCapability({ vectorCount, table, pending }: MsixLayout): PciCapability {
  assert(Number.isInteger(vectorCount) && vectorCount >= 1 && vectorCount <= VECTOR_COUNT_MAX, '1 to 2048 vectors');
  for (const { bar, offset } of [table, pending]) {
    assert(bar >= 0 && bar < PLACE_ALIGNMENT && isAligned(offset, PLACE_ALIGNMENT), 'a place in a BAR');
  }
  const tableEnd = table.offset + vectorCount * ENTRY.BYTES;
  const pendingEnd = pending.offset + pendingBytes(vectorCount);
  const apart = table.bar !== pending.bar || tableEnd <= pending.offset || pendingEnd <= table.offset;
  assert(apart, 'the vector table overlaps the pending bits');
  const body = new Uint8Array(10);
  const view = new DataView(body.buffer);
  view.setUint16(0, vectorCount - 1, true);
  view.setUint32(2, table.offset | table.bar, true);
  view.setUint32(6, pending.offset | pending.bar, true);
  return { id: CAPABILITY.MSIX, body, writable: Uint8Array.of(CONTROL_WRITABLE & 0xff, CONTROL_WRITABLE >>> 8) };
}

/**
 * The MSI-X vectors of one function over words that may be shared and moved: table, pending bits, and which vectors have been
 * allocated and routed. A vector is allocated once, however often the guest enables it. Accesses outside table and pending bits
 * are the device's own.
 */
export class MsixConfig {
  static stateWords(vectorCount: number): number {
    return 1 + vectorCount * ENTRY.WORDS + 3 * bitWords(vectorCount);
  }

  readonly layout: MsixLayout;
  readonly #interrupts: MsixInterrupts;
  /** One word: the message control as last written, and INITIALISED. */
  readonly #control: Uint32Array;
  readonly #table: Uint32Array;
  readonly #pending: Uint32Array;
  readonly #allocated: Uint32Array;
  /** Vectors whose route is what the table says. */
  readonly #routed: Uint32Array;

  /** `words` holds stateWords(vectorCount) words, zeroed when the function is new. */
  constructor(words: Uint32Array, layout: MsixLayout, interrupts: MsixInterrupts) {
    const { vectorCount } = layout;
    assert(words.length >= MsixConfig.stateWords(vectorCount), 'the state is too small');
    this.layout = layout;
    this.#interrupts = interrupts;
    let start = 0;
    const carve = (count: number): Uint32Array => {
      start += count;
      return words.subarray(start - count, start);
    };
    this.#control = carve(1);
    this.#table = carve(vectorCount * ENTRY.WORDS);
    this.#pending = carve(bitWords(vectorCount));
    this.#allocated = carve(bitWords(vectorCount));
    this.#routed = carve(bitWords(vectorCount));
    if (this.#control[0] === 0) this.reset();
  }

  /** After a reset MSI-X is disabled, every vector masked and nothing pending. What was allocated stays so. */
  reset(): void {
    this.#control[0] = INITIALISED;
    this.#table.forEach((_, word) => {
      this.#table[word] = word % ENTRY.WORDS === ENTRY.VECTOR_CONTROL ? VECTOR_CONTROL_MASKED : 0;
    });
    this.#pending.fill(0);
    this.#routed.fill(0);
  }

  /** Whether the guest uses MSI-X: a function that does sends no INTx. */
  get enabled(): boolean {
    return (this.#control[0]! & CONTROL.ENABLE) !== 0;
  }

  /** The guest has written the capability: its message control is now this. */
  setControl(control: number): void {
    const before = this.#control[0]!;
    this.#control[0] = (control & CONTROL_WRITABLE) | INITIALISED;
    if (this.#control[0] === before || !this.#isSending()) return;
    for (let vector = 0; vector < this.layout.vectorCount; vector++) this.#update(vector);
  }

  /** The device has something to say by a vector; while that is masked it becomes pending. No such vector: nothing happens. */
  trigger(vector: number): void {
    if (!this.enabled || !Number.isInteger(vector) || vector < 0 || vector >= this.layout.vectorCount) return;
    if (!this.#isSending() || this.#isMasked(vector)) setBit(this.#pending, vector, true);
    else if (this.#ensureRouted(vector)) this.#interrupts.trigger(vector);
  }

  /** Answers an access that begins in the table or the pending bits; false for any other, with `data` untouched. */
  readBar(bar: number, offset: number, data: Uint8Array): boolean {
    const area = this.#areaAt(bar, offset);
    if (area === undefined) return false;
    for (let i = 0; i < data.length; i++) {
      const at = offset - area.start + i;
      data[i] = (area.words[at >>> 2] ?? 0) >>> (8 * (at & 3));
    }
    return true;
  }

  /** As `readBar`. Only aligned accesses of 4 and 8 bytes have an effect (§6.8.2), and only on the table. */
  writeBar(bar: number, offset: number, data: Uint8Array): boolean {
    const area = this.#areaAt(bar, offset);
    if (area === undefined) return false;
    const isWhole = (data.length === 4 || data.length === 8) && (offset - area.start) % data.length === 0;
    if (area.words !== this.#table || !isWhole) return true;
    const word = (offset - area.start) / 4;
    for (let i = 0; i < data.length; i += 4) {
      const value = data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24);
      this.#writeWord(word + i / 4, value);
    }
    this.#update(Math.floor(word / ENTRY.WORDS));
    return true;
  }

  #areaAt(bar: number, offset: number): { readonly words: Uint32Array; readonly start: number } | undefined {
    const { table, pending, vectorCount } = this.layout;
    const isIn = (place: { bar: number; offset: number }, sizeBytes: number): boolean =>
      bar === place.bar && offset >= place.offset && offset < place.offset + sizeBytes;
    if (isIn(table, vectorCount * ENTRY.BYTES)) return { words: this.#table, start: table.offset };
    if (isIn(pending, pendingBytes(vectorCount))) return { words: this.#pending, start: pending.offset };
    return undefined;
  }

  #writeWord(word: number, value: number): void {
    const field = word % ENTRY.WORDS;
    const written = (value & ENTRY_WRITABLE[field]!) >>> 0;
    if (this.#table[word] === written) return;
    this.#table[word] = written;
    if (field !== ENTRY.VECTOR_CONTROL) setBit(this.#routed, Math.floor(word / ENTRY.WORDS), false);
  }

  /** Enabled, and not masked as a whole. */
  #isSending(): boolean {
    return (this.#control[0]! & CONTROL_WRITABLE) === CONTROL.ENABLE;
  }

  #isMasked(vector: number): boolean {
    return (this.#table[vector * ENTRY.WORDS + ENTRY.VECTOR_CONTROL]! & VECTOR_CONTROL_MASKED) !== 0;
  }

  /** A vector that may send has its route, and sends what is pending. */
  #update(vector: number): void {
    if (!this.#isSending() || this.#isMasked(vector) || !this.#ensureRouted(vector)) return;
    if (!hasBit(this.#pending, vector)) return;
    setBit(this.#pending, vector, false);
    this.#interrupts.trigger(vector);
  }

  #ensureRouted(vector: number): boolean {
    if (hasBit(this.#routed, vector)) return true;
    if (!hasBit(this.#allocated, vector)) {
      if (!this.#interrupts.allocateVector(vector)) return false;
      setBit(this.#allocated, vector, true);
    }
    const base = vector * ENTRY.WORDS;
    const address = this.#table[base + ENTRY.ADDRESS_HIGH]! * 2 ** 32 + this.#table[base + ENTRY.ADDRESS_LOW]!;
    this.#interrupts.route(vector, address, this.#table[base + ENTRY.DATA]!);
    setBit(this.#routed, vector, true);
    return true;
  }
}

function bitWords(vectorCount: number): number {
  return pendingBytes(vectorCount) / 4;
}

function hasBit(bits: Uint32Array, index: number): boolean {
  return (bits[index >>> 5]! & (1 << (index & 31))) !== 0;
}

function setBit(bits: Uint32Array, index: number, value: boolean): void {
  const bit = 1 << (index & 31);
  bits[index >>> 5] = value ? bits[index >>> 5]! | bit : bits[index >>> 5]! & ~bit;
}

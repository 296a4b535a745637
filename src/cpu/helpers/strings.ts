/** String instructions, in bulk within pages where nothing can tell the difference, and bit strings in memory. */
import { FLAG, GPR, RAM_BASE, SEGMENT, type Size, STATE, STOP } from '../layout.ts';
import { ACCESS } from '../memory-unit.ts';
import type { RmwKind } from '../uops/locked.ts';
import type { Helper, HelperContext } from './context.ts';
import { mayUsePorts } from './ports.ts';

const RAX = STATE.GPR + GPR.RAX;
const RCX = STATE.GPR + GPR.RCX;
const RDX = STATE.GPR + GPR.RDX;
const RSI = STATE.GPR + GPR.RSI;
const RDI = STATE.GPR + GPR.RDI;
/** Kinds as the lowering numbers them. */
const KIND = { MOVS: 0, CMPS: 1, STOS: 2, LODS: 3, SCAS: 4, INS: 5, OUTS: 6 } as const;
const HAS_SOURCE: ReadonlySet<number> = new Set([KIND.MOVS, KIND.CMPS, KIND.LODS, KIND.OUTS]);
const HAS_DESTINATION: ReadonlySet<number> = new Set([KIND.MOVS, KIND.CMPS, KIND.STOS, KIND.SCAS, KIND.INS]);
/** Elements between looks at interrupts: long enough to be fast, short enough for timers. */
const SLICE_BYTES = 65536;
const PLACE = { SOURCE: STATE.BOUNCE, DESTINATION: STATE.BOUNCE + 8 } as const;

interface Step {
  readonly kind: number;
  readonly size: Size;
  readonly addressSize: 1 | 2 | 3;
  readonly repeat: number;
  readonly segment: number;
}

class StringUnit {
  readonly #h: HelperContext;

  constructor(h: HelperContext) {
    this.#h = h;
  }

  run(record: number): number {
    const h = this.#h;
    const c = h.c(record);
    const step: Step = {
      kind: h.a(record),
      size: h.b(record) as Size,
      repeat: c & 0xff,
      addressSize: (c >> 8) as 1 | 2 | 3,
      segment: h.high(record),
    };
    if (step.kind >= KIND.INS && !mayUsePorts(h, h.low(RDX) & 0xffff, 1 << step.size)) return STOP.FAULT;
    if (step.repeat === 0) return this.#one(step, record);
    const compares = step.kind === KIND.CMPS || step.kind === KIND.SCAS;
    const flagsBefore = compares ? h.cpu.flags : 0;
    for (let done = 0; ; ) {
      if (this.#counter(step) === 0n) return 0;
      const bulk = this.#bulk(step, record);
      if (bulk < 0) return STOP.FAULT;
      if (bulk === 0) {
        const stop = this.#one(step, record);
        if (stop !== 0) {
          // *Measured*: the registers say how far it got, the flags are those before the instruction.
          if (compares) h.cpu.arithmeticFlags = flagsBefore;
          return stop;
        }
        this.#count(step, 1);
        if (compares && ((h.cpu.flags & FLAG.ZF) !== 0) !== (step.repeat === 0xf3)) return 0;
      } else this.#count(step, bulk);
      done += Math.max(bulk, 1) << step.size;
      if (done >= SLICE_BYTES && this.#counter(step) !== 0n) {
        // Registers say how far it got: the same instruction goes on after a look at interrupts.
        h.cpu.setRipOf(record, 0);
        h.cpu.pollSoon();
        return STOP.RESYNC;
      }
    }
  }

  #counter(step: Step): bigint {
    return this.#h.get64(RCX, step.addressSize);
  }

  #count(step: Step, elements: number): void {
    this.#h.set64(RCX, step.addressSize, BigInt.asUintN(8 << step.addressSize, this.#counter(step) - BigInt(elements)));
  }

  #advance(place: number, step: Step, bytes: number): void {
    const h = this.#h;
    const down = ((h.cpu.words[STATE.FLAGS >> 2] as number) & FLAG.DF) !== 0;
    const moved = h.get64(place, step.addressSize) + BigInt(down ? -bytes : bytes);
    h.set64(place, step.addressSize, BigInt.asUintN(8 << step.addressSize, moved));
  }

  /** The destination is always in ES; the source is in DS unless a prefix says otherwise. −1: its base does not count. */
  #segment(step: Step, source: boolean): number {
    const { isLegacy } = this.#h.cpu.mmu;
    const segment = source ? step.segment : isLegacy ? SEGMENT.ES : -1;
    return segment < 0 && isLegacy ? SEGMENT.DS : segment;
  }

  /** Whether the next element lies in its segments; false after a fault. */
  #mayAccess(step: Step): boolean {
    const { segments } = this.#h.cpu;
    const allows = (place: number, source: boolean): boolean =>
      segments.mayAccess(this.#segment(step, source), Number(this.#h.get64(place, step.addressSize)));
    return (!HAS_SOURCE.has(step.kind) || allows(RSI, true)) && (!HAS_DESTINATION.has(step.kind) || allows(RDI, false));
  }

  /** Whether a segment has a limit that each element must be held against. */
  #isChecked(step: Step): boolean {
    const { mmu, words } = this.#h.cpu;
    const checked = (source: boolean): boolean =>
      words[(STATE.SEGMENT_CHECKED >> 2) + this.#segment(step, source)] !== 0;
    return mmu.isLegacy && (checked(true) || checked(false));
  }

  #address(place: number, step: Step, source: boolean): bigint {
    const { isLegacy } = this.#h.cpu.mmu;
    const offset = this.#h.get64(place, step.addressSize);
    const named = this.#segment(step, source);
    if (named < 0) return offset;
    return BigInt.asUintN(isLegacy ? 32 : 64, offset + this.#h.get64(STATE.SEGMENT_BASE + named * 8, 3));
  }

  /** Bytes to the end of the page, or to where the offset in the segment wraps. */
  #room(place: number, step: Step, address: bigint): number {
    const inPage = 4096 - Number(address & 0xfffn);
    if (step.addressSize === 3) return inPage;
    const bits = 8 << step.addressSize;
    return Math.min(inPage, 2 ** bits - ((this.#h.low(place) >>> 0) % 2 ** bits));
  }

  /** MOVS and STOS upwards, within a page on each side: returns the elements done, 0 when it cannot, −1 after a fault. */
  #bulk(step: Step, record: number): number {
    const { cpu } = this.#h;
    const { mmu, words, bytes } = cpu;
    if ((step.kind !== KIND.MOVS && step.kind !== KIND.STOS) || mmu.watchpoints !== undefined) return 0;
    if (((words[STATE.FLAGS >> 2] as number) & FLAG.DF) !== 0 || this.#isChecked(step)) return 0;
    const to = this.#address(RDI, step, false);
    const from = step.kind === KIND.MOVS ? this.#address(RSI, step, true) : 0n;
    let room = this.#room(RDI, step, to);
    if (step.kind === KIND.MOVS) room = Math.min(room, this.#room(RSI, step, from));
    const wanted = this.#counter(step);
    const elements = wanted > 4096n ? room >> step.size : Math.min(room >> step.size, Number(wanted));
    if (elements < 2) return 0;
    const count = elements << step.size;
    let host = 0;
    if (step.kind === KIND.MOVS) {
      const source = mmu.translate(Number(from & 0xffffffffn) | 0, Number(from >> 32n) | 0, mmu.userBit);
      if (source < 0) return -1;
      if (source + count > mmu.memoryEnd) return 0;
      host = RAM_BASE + source;
    }
    const target = mmu.translate(Number(to & 0xffffffffn) | 0, Number(to >> 32n) | 0, mmu.userBit | ACCESS.WRITE);
    if (target < 0) return -1;
    if (target + count > mmu.memoryEnd || !mmu.map.isWritable(target)) return 0;
    // Overlapping upward copies repeat what they have just written: only element by element does that.
    const distance = RAM_BASE + target - host;
    if (step.kind === KIND.MOVS && distance > 0 && distance < count) return 0;
    mmu.changing(target, count, record);
    const at = RAM_BASE + target;
    if (step.kind === KIND.MOVS) {
      bytes.copyWithin(at, host, host + count);
      this.#advance(RSI, step, count);
    } else this.#fill(at, count, step.size);
    mmu.watcher.changed(target, count);
    this.#advance(RDI, step, count);
    return elements;
  }

  #fill(at: number, count: number, size: Size): void {
    const { bytes } = this.#h.cpu;
    const width = 1 << size;
    if (size === 0) {
      bytes.fill(bytes[RAX] as number, at, at + count);
      return;
    }
    bytes.copyWithin(at, RAX, RAX + width);
    for (let done = width; done < count; done *= 2) bytes.copyWithin(at + done, at, at + Math.min(done, count - done));
  }

  #load(address: bigint, to: number, sizeBytes: number): boolean {
    const { mmu } = this.#h.cpu;
    return mmu.readVirtual(Number(address & 0xffffffffn) | 0, Number(address >> 32n) | 0, to, sizeBytes, mmu.userBit);
  }

  #store(address: bigint, from: number, sizeBytes: number, record: number): boolean {
    const { mmu } = this.#h.cpu;
    return mmu.writeVirtual(
      Number(address & 0xffffffffn) | 0,
      Number(address >> 32n) | 0,
      from,
      sizeBytes,
      record,
      mmu.userBit,
    );
  }

  /** Whether the pages of an element may be written; false after the fault. */
  #mayStore(address: bigint, sizeBytes: number): boolean {
    const { mmu } = this.#h.cpu;
    const access = mmu.userBit | ACCESS.WRITE;
    const low = Number(address & 0xffffffffn) | 0;
    const high = Number(address >> 32n) | 0;
    if (mmu.translate(low, high, access) < 0) return false;
    const first = 4096 - (low & 0xfff);
    return first >= sizeBytes || mmu.translate((low + first) | 0, mmu.highAfter(low, high, first), access) >= 0;
  }

  /** One element. */
  #one(step: Step, record: number): number {
    const h = this.#h;
    const width = 1 << step.size;
    const { SOURCE, DESTINATION } = PLACE;
    const usesSource = HAS_SOURCE.has(step.kind);
    if (this.#isChecked(step) && !this.#mayAccess(step)) return STOP.FAULT;
    if (usesSource && !this.#load(this.#address(RSI, step, true), SOURCE, width)) return STOP.FAULT;
    const destination = this.#address(RDI, step, false);
    switch (step.kind) {
      case KIND.MOVS:
        if (!this.#store(destination, SOURCE, width, record)) return STOP.FAULT;
        break;
      case KIND.STOS:
        if (!this.#store(destination, RAX, width, record)) return STOP.FAULT;
        break;
      case KIND.LODS:
        h.set64(RAX, step.size, h.get64(SOURCE, step.size));
        break;
      case KIND.CMPS:
      case KIND.SCAS:
        if (!this.#load(destination, DESTINATION, width)) return STOP.FAULT;
        this.#compare(
          h.get64(step.kind === KIND.CMPS ? SOURCE : RAX, step.size),
          h.get64(DESTINATION, step.size),
          step.size,
        );
        break;
      case KIND.INS: {
        // All must be writable before the port is read, for the read has effects.
        if (!this.#mayStore(destination, width)) return STOP.FAULT;
        h.set64(SOURCE, 3, BigInt(h.cpu.options.ports.read(h.low(RDX) & 0xffff, width)));
        if (!this.#store(destination, SOURCE, width, record)) return STOP.FAULT;
        break;
      }
      default:
        h.cpu.options.ports.write(h.low(RDX) & 0xffff, width, Number(h.get64(SOURCE, step.size)));
    }
    if (usesSource) this.#advance(RSI, step, width);
    if (HAS_DESTINATION.has(step.kind)) this.#advance(RDI, step, width);
    return 0;
  }

  #compare(left: bigint, right: bigint, size: Size): void {
    const bits = 8 << size;
    const result = BigInt.asUintN(bits, left - right);
    const sign = (value: bigint): number => Number(value >> BigInt(bits - 1)) & 1;
    const low = Number(result & 0xffn);
    const parity = (0x9669 >> ((low ^ (low >> 4)) & 15)) & 1;
    const adjust = Number((left ^ right ^ result) & 0x10n);
    const overflow = (sign(left) ^ sign(right)) & (sign(left) ^ sign(result));
    this.#h.cpu.arithmeticFlags =
      (left < right ? FLAG.CF : 0) |
      (parity ? FLAG.PF : 0) |
      adjust |
      (result === 0n ? FLAG.ZF : 0) |
      (sign(result) ? FLAG.SF : 0) |
      (overflow ? FLAG.OF : 0);
  }
}

/** What BTS, BTR and BTC do to their operand, by their kind. */
const BIT_RMW: readonly (RmwKind | undefined)[] = [undefined, 'or', 'and', 'xor'];

/**
 * BT, BTS, BTR and BTC of a bit string: the bit number in the register reaches beyond the operand. c: kind, address size above
 * bit 4, one more than the number of the segment whose base is added above bit 8.
 */
function bitMemory(h: HelperContext): Helper {
  const { mmu, locked } = h.cpu;
  return (record) => {
    const size = h.high(record) as Size;
    const bits = 8 << size;
    const number = BigInt.asIntN(bits, h.get64(h.b(record), size));
    const kind = h.c(record) & 3;
    const addressBits = 8 << ((h.c(record) >> 4) & 3);
    const segment = (h.c(record) >> 8) - 1;
    const sum = h.get64(h.a(record), 3) + (number >> BigInt(3 + size)) * BigInt(1 << size);
    const base = segment < 0 ? 0n : h.get64(STATE.SEGMENT_BASE + segment * 8, 3);
    const offset = BigInt.asUintN(addressBits, sum);
    if (mmu.isLegacy && segment >= 0 && !h.cpu.segments.mayAccess(segment, Number(offset))) return STOP.FAULT;
    const address = BigInt.asUintN(mmu.isLegacy ? 32 : 64, offset + base);
    const low = Number(address & 0xffffffffn) | 0;
    const high = Number(address >> 32n) | 0;
    const mask = 1n << (number & BigInt(bits - 1));
    let value: bigint;
    if (kind === 0) {
      if (!mmu.readVirtual(low, high, PLACE.SOURCE, 1 << size, mmu.userBit)) return STOP.FAULT;
      value = h.get64(PLACE.SOURCE, size);
    } else {
      // Without the prefix nobody minds that it is locked.
      h.set(STATE.ADDRESS, low, high);
      const old = locked.change(BIT_RMW[kind] as RmwKind, size, kind === 2 ? ~mask : mask, record);
      if (old === null) return STOP.FAULT;
      value = old;
    }
    h.cpu.arithmeticFlags = (h.cpu.flags & ~FLAG.CF) | (value & mask ? FLAG.CF : 0);
    return 0;
  };
}

export function stringHelpers(h: HelperContext) {
  const unit = new StringUnit(h);
  return { string: (record: number) => unit.run(record), bitMemory: bitMemory(h) } satisfies Record<string, Helper>;
}

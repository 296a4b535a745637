/** Finds the length and the parts of one instruction (SDM vol. 2 chapter 2) and its row in the table. */
import { CODE_KEY, GPR, SEGMENT, STATE } from '../layout.ts';
import { ENCODINGS, type Encoding } from './table.ts';

const PREFIX_INDEX = { none: 0, '66': 1, f3: 2, f2: 3 } as const;

/** Candidates by map, opcode and mandatory prefix; most have one row. */
type Index = (Encoding[] | undefined)[];

function indexOf(rows: readonly Encoding[]): Index {
  const index: Index = [];
  for (const row of rows) {
    const prefixes = row.prefix === null ? [0, 1, 2, 3] : [PREFIX_INDEX[row.prefix]];
    for (const prefix of prefixes) {
      const key = (row.map << 10) | (row.opcode << 2) | prefix;
      const known = index[key];
      // A row that asks for a prefix is tried before one that does not.
      if (!known) index[key] = [row];
      else if (row.prefix === null) known.push(row);
      else known.unshift(row);
    }
  }
  return index;
}

const LONG_INDEX = indexOf(ENCODINGS.filter((row) => !row.attributes.no64));
const LEGACY_INDEX = indexOf(ENCODINGS.filter((row) => !row.attributes.only64));

/** Base and index of 16-bit addressing by modrm.rm, SDM vol. 2 table 2-1. */
const gpr = (number: number): number => STATE.GPR + number * 8;
const [BX, BP, SI, DI] = [gpr(3), gpr(5), gpr(6), gpr(7)] as const;
const BASE16 = [BX, BX, BP, BP, SI, DI, BP, BX] as const;
const INDEX16 = [SI, DI, SI, DI, -1, -1, -1, -1] as const;

/** The instruction goes on past the bytes that were given. */
export const NEED_MORE = -1;
/** No such instruction: #UD. */
export const UNDEFINED = -2;
/** Longer than 15 bytes: #GP. */
export const TOO_LONG = -3;

export const MAX_LENGTH = 15;

/** The parts of the instruction that was decoded last; one object is used over and over. */
export class Decoder {
  row: Encoding = ENCODINGS[0] as Encoding;
  length = 0;
  rex = 0;
  /** Operand size as an index: 1, 2 or 3. */
  operandSize: 1 | 2 | 3 = 2;
  addressSize: 1 | 2 | 3 = 3;
  /** The mode that code is decoded in, a sum of CODE_KEY; the owner sets it. */
  key: number = CODE_KEY.LONG;
  /** Segment override: the register's number, or −1. */
  segment = -1;
  repeat: 0 | 0xf2 | 0xf3 = 0;
  lock = false;
  opcode = 0;
  modrm = 0;
  mod = 0;
  reg = 0;
  rm = 0;
  /** Memory operand: state offsets of base and index (with its scale), and displacement. */
  base = 0;
  index = -1;
  scale = 0;
  displacement = 0;
  ripRelative = false;
  immediate = 0;
  immediateHigh = 0;
  /** Selector of a far pointer in the instruction. */
  selector = 0;
  #bytes: Uint8Array;
  #at = 0;
  #end = 0;
  #start = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Decodes what starts at `start`, reading no byte at or beyond `end`; returns the length or a negative reason. */
  decode(start: number, end: number, bytes: Uint8Array = this.#bytes): number {
    this.#bytes = bytes;
    this.#start = start;
    this.#at = start;
    this.#end = Math.min(end, start + MAX_LENGTH);
    const result = this.#parse();
    if (result !== NEED_MORE) return result;
    return end >= start + MAX_LENGTH ? TOO_LONG : NEED_MORE;
  }

  #parse(): number {
    let opcode = this.#prefixes();
    if (opcode < 0) return NEED_MORE;
    let map = 0;
    if (opcode === 0x0f) {
      map = 1;
      opcode = this.#byte();
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = this.#byte();
      }
      if (opcode < 0) return NEED_MORE;
    }
    this.opcode = opcode;
    const prefix = this.repeat === 0xf3 ? 2 : this.repeat === 0xf2 ? 3 : this.#operandPrefix ? 1 : 0;
    const index = this.isLegacy ? LEGACY_INDEX : LONG_INDEX;
    const candidates = index[(map << 10) | (opcode << 2) | prefix];
    if (!candidates) return UNDEFINED;
    const row = this.#select(candidates);
    if (typeof row === 'number') return row;
    this.row = row;
    this.operandSize = this.#sizeOfOperands(row);
    if (!this.#immediates(row)) return NEED_MORE;
    this.length = this.#at - this.#start;
    if (this.lock && !(row.attributes.lock && row.modrm && this.mod !== 3)) return UNDEFINED;
    return this.length;
  }

  #operandPrefix = false;

  get isLegacy(): boolean {
    return this.key !== CODE_KEY.LONG;
  }

  #sizeOfOperands(row: Encoding): 1 | 2 | 3 {
    if (this.isLegacy) return ((this.key & CODE_KEY.CODE16) !== 0) === this.#operandPrefix ? 2 : 1;
    return this.rex & 8 ? 3 : this.#operandPrefix ? 1 : row.attributes.default64 ? 3 : 2;
  }

  /** Reads prefixes; returns the first opcode byte or NEED_MORE. */
  #prefixes(): number {
    this.rex = 0;
    this.segment = -1;
    this.repeat = 0;
    this.lock = false;
    const code16 = (this.key & CODE_KEY.CODE16) !== 0;
    this.addressSize = this.isLegacy ? (code16 ? 1 : 2) : 3;
    this.#operandPrefix = false;
    for (;;) {
      const byte = this.#byte();
      switch (byte) {
        case 0x66:
          this.#operandPrefix = true;
          break;
        case 0x67:
          this.addressSize = this.isLegacy && !code16 ? 1 : 2;
          break;
        case 0xf0:
          this.lock = true;
          break;
        case 0xf2:
        case 0xf3:
          this.repeat = byte;
          break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
          // Ignored in 64-bit mode, where it ends an earlier FS or GS.
          this.segment = this.isLegacy ? (byte >> 3) & 3 : -1;
          break;
        case 0x64:
        case 0x65:
          this.segment = byte - 0x60;
          break;
        default:
          if ((byte & 0xf0) === 0x40 && !this.isLegacy) {
            this.rex = byte;
            const opcode = this.#byte();
            if (!isPrefix(opcode)) return opcode;
            // REX counts only right before the opcode.
            this.rex = 0;
            this.#at--;
            break;
          }
          return byte;
      }
    }
  }

  #select(candidates: readonly Encoding[]): Encoding | number {
    const first = candidates[0] as Encoding;
    if (!first.modrm) return first;
    const modrm = this.#byte();
    if (modrm < 0) return NEED_MORE;
    this.modrm = modrm;
    this.mod = modrm >> 6;
    this.reg = ((modrm >> 3) & 7) | ((this.rex & 4) << 1);
    this.rm = (modrm & 7) | ((this.rex & 1) << 3);
    if (this.mod !== 3 && !this.#memoryOperand()) return NEED_MORE;
    const digit = (modrm >> 3) & 7;
    for (const row of candidates) {
      if (row.digit >= 0 && row.digit !== digit) continue;
      if (row.rm !== null && (row.rm === 'r') !== (this.mod === 3)) continue;
      return row;
    }
    return UNDEFINED;
  }

  #memoryOperand(): boolean {
    const low = this.modrm & 7;
    this.ripRelative = false;
    this.index = -1;
    this.scale = 0;
    this.displacement = 0;
    if (this.addressSize === 1) return this.#memoryOperand16(low);
    let displacementBytes = this.mod === 1 ? 1 : this.mod === 2 ? 4 : 0;
    this.base = STATE.GPR + this.rm * 8;
    if (low === 4) {
      const sib = this.#byte();
      if (sib < 0) return false;
      const indexRegister = ((sib >> 3) & 7) | ((this.rex & 2) << 2);
      if (indexRegister !== 4) {
        this.index = STATE.GPR + indexRegister * 8;
        this.scale = sib >> 6;
      }
      this.base = STATE.GPR + ((sib & 7) | ((this.rex & 1) << 3)) * 8;
      if ((sib & 7) === 5 && this.mod === 0) {
        this.base = STATE.ZERO;
        displacementBytes = 4;
      }
    } else if (low === 5 && this.mod === 0) {
      this.ripRelative = !this.isLegacy;
      this.base = this.ripRelative ? STATE.CODE_PAGE : STATE.ZERO;
      displacementBytes = 4;
    }
    return this.#displacement(displacementBytes);
  }

  #memoryOperand16(low: number): boolean {
    this.base = BASE16[low] as number;
    this.index = INDEX16[low] as number;
    if (low !== 6 || this.mod !== 0) return this.#displacement(this.mod);
    this.base = STATE.ZERO;
    return this.#displacement(2);
  }

  /** The segment of the memory operand: the override, else that of its base register (SDM vol. 1 table 3-5). */
  get operandSegment(): number {
    if (this.segment >= 0) return this.segment;
    return this.base === gpr(4) || this.base === BP ? SEGMENT.SS : SEGMENT.DS;
  }

  #displacement(count: number): boolean {
    if (count === 0) return true;
    if (this.#at + count > this.#end) return false;
    this.displacement = count === 1 ? this.#signed8() : count === 2 ? this.#signed16() : this.#signed32();
    return true;
  }

  #immediates(row: Encoding): boolean {
    this.immediate = 0;
    this.immediateHigh = 0;
    for (const operand of row.operands) {
      const kind = operand.charCodeAt(0);
      if (operand === 'Ap') return this.#farPointer();
      if (kind !== 0x49 && kind !== 0x4a && kind !== 0x4f) continue; // I, J, O
      if (!this.#immediate(operand)) return false;
    }
    return true;
  }

  #immediateBytes(operand: string): 1 | 2 | 3 | 4 | 8 {
    if (operand[0] === 'O') return (1 << this.addressSize) as 2 | 4 | 8;
    if (operand === 'IwIb') return 3;
    if (operand[1] === 'b') return 1;
    if (operand[1] === 'w') return 2;
    // Near branches have 32-bit displacements in 64-bit mode, whatever the prefixes.
    if (operand[0] === 'J' && !this.isLegacy) return 4;
    if (operand === 'Iv' && this.operandSize === 3) return 8;
    return this.operandSize === 1 ? 2 : 4;
  }

  #immediate(operand: string): boolean {
    const count = this.#immediateBytes(operand);
    if (this.#at + count > this.#end) return false;
    if (count === 1) this.immediate = this.#signed8();
    else if (count < 4) this.immediate = this.#signed16();
    else this.immediate = this.#signed32();
    this.immediateHigh = this.immediate >> 31;
    if (count === 3) this.immediateHigh = this.#byte();
    else if (count === 8) this.immediateHigh = this.#signed32();
    else if (operand[0] === 'O') {
      // Moffs addresses are not sign extended.
      if (count === 2) this.immediate &= 0xffff;
      this.immediateHigh = 0;
    }
    return true;
  }

  /** ptr16:16 or ptr16:32. */
  #farPointer(): boolean {
    const wide = this.operandSize !== 1;
    if (this.#at + (wide ? 6 : 4) > this.#end) return false;
    this.immediate = wide ? this.#signed32() : this.#unsigned16();
    this.selector = this.#unsigned16();
    return true;
  }

  #byte(): number {
    if (this.#at >= this.#end) return NEED_MORE;
    return this.#bytes[this.#at++] as number;
  }

  #signed8(): number {
    return ((this.#bytes[this.#at++] as number) << 24) >> 24;
  }

  #unsigned16(): number {
    const low = this.#bytes[this.#at++] as number;
    return low | ((this.#bytes[this.#at++] as number) << 8);
  }

  #signed16(): number {
    return (this.#unsigned16() << 16) >> 16;
  }

  #signed32(): number {
    const low = this.#unsigned16();
    return low | (this.#unsigned16() << 16);
  }

  /** State offset of a general register as an operand of this size. */
  register(number: number, size: number): number {
    // Without REX, byte registers 4 to 7 are AH, CH, DH and BH.
    if (size === 0 && this.rex === 0 && number >= 4 && number < 8) return STATE.GPR + (number - 4) * 8 + 1;
    return STATE.GPR + number * 8;
  }

  get usesStackRegister(): boolean {
    return this.base === STATE.GPR + GPR.RSP;
  }
}

function isPrefix(byte: number): boolean {
  return (
    (byte >= 0x40 && byte < 0x50) ||
    byte === 0x66 ||
    byte === 0x67 ||
    byte === 0xf0 ||
    byte === 0xf2 ||
    byte === 0xf3 ||
    byte === 0x26 ||
    byte === 0x2e ||
    byte === 0x36 ||
    byte === 0x3e ||
    byte === 0x64 ||
    byte === 0x65
  );
}

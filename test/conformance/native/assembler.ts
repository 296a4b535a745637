/** As much of an x86-64 assembler as the trampoline needs: bytes, general registers, and operands relative to RIP. */

/** Register numbers as encoded. */
export const REG = {
  RAX: 0,
  RCX: 1,
  RDX: 2,
  RBX: 3,
  RSP: 4,
  RBP: 5,
  RSI: 6,
  RDI: 7,
  R10: 10,
  R12: 12,
  R15: 15,
} as const;

const rexB = (register: number): number[] => (register > 7 ? [0x41] : []);

export class Assembler {
  readonly #bytes: number[] = [];

  /** Offset of the next byte. */
  get here(): number {
    return this.#bytes.length;
  }

  raw(...bytes: readonly number[]): void {
    this.#bytes.push(...bytes);
  }

  imm32(value: number): void {
    this.raw(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff);
  }

  push(register: number): void {
    this.raw(...rexB(register), 0x50 | (register & 7));
  }

  pop(register: number): void {
    this.raw(...rexB(register), 0x58 | (register & 7));
  }

  /** PUSH of a sign-extended byte. */
  pushByte(value: number): void {
    this.raw(0x6a, value);
  }

  /** MOV r32, imm32. */
  moveImmediate(register: number, value: number): void {
    this.raw(...rexB(register), 0xb8 | (register & 7));
    this.imm32(value);
  }

  /** ModRM and displacement of a RIP-relative operand at offset `target`; `trailing` immediate bytes follow it. */
  ripRelative(reg: number, target: number, trailing = 0): void {
    this.raw(((reg & 7) << 3) | 5);
    this.imm32(target - (this.here + 4 + trailing));
  }

  /** `opcode` with REX.W, a register and the quadword at offset `target`. */
  wide(opcode: number, register: number, target: number): void {
    this.raw(0x48 | (register > 7 ? 4 : 0), opcode);
    this.ripRelative(register, target);
  }

  /** MOV r64, [target]. */
  load(register: number, target: number): void {
    this.wide(0x8b, register, target);
  }

  /** MOV [target], r64. */
  store(register: number, target: number): void {
    this.wide(0x89, register, target);
  }

  /** LEA r64, [target]. */
  address(register: number, target: number): void {
    this.wide(0x8d, register, target);
  }

  /** PUSH qword [target]. */
  pushMemory(target: number): void {
    this.raw(0xff);
    this.ripRelative(6, target);
  }

  /** MOV dword [target], imm32. */
  storeImmediate(target: number, value: number): void {
    this.raw(0xc7);
    this.ripRelative(0, target, 4);
    this.imm32(value);
  }

  /** CMP dword [target], 0. */
  compareWithZero(target: number): void {
    this.raw(0x83);
    this.ripRelative(7, target, 1);
    this.raw(0);
  }

  /** JE forward; the result is for `land`. */
  jumpIfEqual(): number {
    this.raw(0x74, 0);
    return this.here;
  }

  /** Makes the jump go here. */
  land(jump: number): void {
    const distance = this.here - jump;
    if (distance > 127) throw new RangeError('the jump is too long for one byte');
    this.#bytes[jump - 1] = distance;
  }

  code(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

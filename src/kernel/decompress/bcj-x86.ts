/**
 * Undoes the x86 branch filter of .xz (filter id 4): the encoder has turned the relative operands of CALL (E8) and JMP (E9)
 * into absolute ones, which repeat and so compress better.
 *
 * An operand counts only if its top byte is 00 or FF, and not if one of the three bytes before its opcode looked like an opcode
 * too in a way that makes the decision ambiguous. `recent` remembers which of those bytes did: bit 0 is the nearest.
 */

/** How many operand bytes an earlier opcode-like byte reaches into, by `recent`. */
const REACH = [0, 1, 2, 2, 3, 3, 3, 3] as const;
/** The values of `recent` with which an operand may still have been converted: at most one earlier opcode-like byte, or none. */
const CONVERTIBLE = [true, true, true, false, true, false, false, false] as const;
const INSTRUCTION_BYTES = 5;
const OPERAND_TOP_BYTE = 4;

/** True when one of the four bytes of `word` is E8 or E9: the usual test for a zero byte, bit 0 of each byte left out. */
function holdsOpcode(word: number): boolean {
  const difference = (word ^ 0xe8e8e8e8) & 0xfefefefe;
  return ((difference - 0x01010101) & ~difference & 0x80808080) !== 0;
}

function isSignByte(byte: number): boolean {
  return byte === 0x00 || byte === 0xff;
}

/** The relative operand of the instruction that ends at `nextAddress`, from the absolute one that the encoder wrote. */
function relativeOperand(absolute: number, nextAddress: number, recent: number): number {
  let operand = absolute;
  for (;;) {
    const relative = (operand - nextAddress) | 0;
    if (recent === 0) return relative;
    const bits = (REACH[recent] as number) * 8;
    if (!isSignByte((relative >>> (24 - bits)) & 0xff)) return relative;
    operand = relative ^ (2 ** (32 - bits) - 1);
  }
}

/** Converts `data` in place. Its first byte is at address 0 of the filter's count. */
export function undoBcjX86(data: Uint8Array): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const last = data.length - INSTRUCTION_BYTES;
  let previous = -1;
  let recent = 0;
  for (let at = 0; at <= last; at++) {
    // Most words hold no opcode: a word at a time takes half the time of a byte at a time (measured on a vmlinux).
    while (at < last - 3 && !holdsOpcode(view.getInt32(at, true))) at += 4;
    if (((data[at] as number) & 0xfe) !== 0xe8) continue;
    const gap = at - previous;
    previous = at;
    recent = gap > 3 ? 0 : (recent << (gap - 1)) & 7;
    const ambiguous =
      recent !== 0 &&
      (!CONVERTIBLE[recent] || isSignByte(data[at + OPERAND_TOP_BYTE - (REACH[recent] as number)] as number));
    if (ambiguous || !isSignByte(data[at + OPERAND_TOP_BYTE] as number)) {
      recent = (recent << 1) | 1;
      continue;
    }
    const operand = relativeOperand(view.getInt32(at + 1, true), at + INSTRUCTION_BYTES, recent);
    // Bit 24 is the sign: the top byte is made 00 or FF again.
    view.setInt32(at + 1, (operand << 7) >> 7, true);
    at += INSTRUCTION_BYTES - 1;
  }
}

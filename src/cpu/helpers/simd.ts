/** SSE floating point, the gates of SSE and MMX, and the few vector operations that WebAssembly has no instructions for. */
import { comparisonEflags, createSseView, isUnmasked, type SseImmediateFunction } from '../float/sse.ts';
import { STATUS, WORD } from '../float/x87-state.ts';
import { SSE_FUNCTION_NAMES, SSE_FUNCTIONS } from '../isa/sse-function-names.ts';
import { STATE, STOP } from '../layout.ts';
import { ACCESS } from '../memory-unit.ts';
import { CR0, CR4, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';
import { stringCompare } from './simd-strings.ts';

/** Bytes of the state block that places of registers and operands lie in. */
const STATE_BYTES = 0x800;
/** All registers hold a value. */
const TAGS_VALID = 0xff;

function gates(h: HelperContext) {
  const { system, words } = h.cpu;
  const status = (STATE.X87 >> 2) + WORD.STATUS;
  const control = (STATE.X87 >> 2) + WORD.CONTROL;
  const tags = (STATE.X87 >> 2) + WORD.TAGS;
  return {
    /** SDM vol. 3 §2.5 and §13.1: #UD without the operating system's support, #NM while another task's registers are loaded. */
    sseCheck: () => {
      if ((system.cr0 & CR0.EM) !== 0 || (system.cr4 & CR4.OSFXSR) === 0) return h.fault(VECTOR.UD);
      if ((system.cr0 & CR0.TS) !== 0) return h.fault(VECTOR.NM);
      words[STATE.SSE_UNCHECKED >> 2] = 0;
      return 0;
    },
    /** SDM vol. 3 §12.1. */
    mmxCheck: () => {
      if ((system.cr0 & CR0.EM) !== 0) return h.fault(VECTOR.UD);
      if ((system.cr0 & CR0.TS) !== 0) return h.fault(VECTOR.NM);
      const pending = (words[status] as number) & ~(words[control] as number) & STATUS.EXCEPTIONS;
      return pending !== 0 ? h.fault(VECTOR.MF) : 0;
    },
    mmxTop: () => {
      words[status] = (words[status] as number) & ~STATUS.TOP;
      return 0;
    },
    mmxUse: () => {
      words[status] = (words[status] as number) & ~STATUS.TOP;
      words[tags] = TAGS_VALID;
      return 0;
    },
    emms: () => {
      words[status] = (words[status] as number) & ~STATUS.TOP;
      words[tags] = 0;
      return 0;
    },
  } satisfies Record<string, Helper>;
}

function floats(h: HelperContext) {
  const { cpu } = h;
  const { words } = cpu;
  const view = createSseView(cpu.bytes.buffer, 0, STATE_BYTES);
  const functions = SSE_FUNCTION_NAMES.map((name) => SSE_FUNCTIONS[name] as SseImmediateFunction);
  const mxcsrAt = STATE.MXCSR >> 2;
  /** Runs an operation and keeps its flags; the result, or −1 after a fault. */
  const run = (record: number): number => {
    const mxcsr = words[mxcsrAt] as number;
    const operation = functions[h.c(record)] as SseImmediateFunction;
    const result = operation(view, h.a(record) >> 2, h.b(record) >> 2, mxcsr, h.high(record));
    words[mxcsrAt] = mxcsr | (result & 0x3f);
    if (!isUnmasked(result, mxcsr)) return result;
    h.fault((cpu.system.cr4 & CR4.OSXMMEXCPT) !== 0 ? VECTOR.XM : VECTOR.UD);
    return -1;
  };
  return {
    sse: (record: number) => (run(record) < 0 ? STOP.FAULT : 0),
    sseToFlags: (record: number) => {
      const result = run(record);
      if (result < 0) return STOP.FAULT;
      cpu.arithmeticFlags = comparisonEflags(result);
      return 0;
    },
  } satisfies Record<string, Helper>;
}

/** CRC-32C, reflected. */
const CRC_POLYNOMIAL = 0x82f63b78;
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? CRC_POLYNOMIAL : 0);
  return value;
});

function bytewise(h: HelperContext) {
  const { bytes, mmu } = h.cpu;
  const word = (place: number, lane: number): number =>
    (bytes[place + 2 * lane] as number) | ((bytes[place + 2 * lane + 1] as number) << 8);
  const result = new Uint8Array(16);
  return {
    crc32: (record: number) => {
      const a = h.a(record);
      const from = h.b(record);
      let crc = h.low(a);
      for (let i = 0; i < 1 << h.c(record); i++) {
        crc = (CRC_TABLE[(crc ^ (bytes[from + i] as number)) & 0xff] as number) ^ (crc >>> 8);
      }
      h.set(a, crc, 0);
      return 0;
    },
    phminposuw: (record: number) => {
      const b = h.b(record);
      let index = 0;
      for (let lane = 1; lane < 8; lane++) if (word(b, lane) < word(b, index)) index = lane;
      const minimum = word(b, index);
      h.set(h.a(record), minimum | (index << 16), 0);
      h.set(h.a(record) + 8, 0, 0);
      return 0;
    },
    /** SDM vol. 2: sums of absolute differences of four bytes of the source and eight overlapping fours of the destination. */
    mpsadbw: (record: number) => {
      const immediate = h.high(record);
      const source = h.b(record) + (immediate & 3) * 4;
      const destination = h.a(record) + ((immediate >> 2) & 1) * 4;
      for (let lane = 0; lane < 8; lane++) {
        let sum = 0;
        for (let i = 0; i < 4; i++) {
          sum += Math.abs((bytes[destination + lane + i] as number) - (bytes[source + i] as number));
        }
        result[2 * lane] = sum;
        result[2 * lane + 1] = sum >> 8;
      }
      bytes.set(result, h.a(record));
      return 0;
    },
    /** MASKMOVQ and MASKMOVDQU: bytes of a where b's have the top bit, to the address at place c. */
    maskedMove: (record: number) => {
      const size = h.high(record);
      const low = h.low(h.c(record));
      const high = h.highOf(h.c(record));
      const at = (i: number): readonly [number, number] => [(low + i) | 0, mmu.highAfter(low, high, i)];
      // *Measured*: memory must be writable even where no byte is chosen, and the upper 8 bytes are looked at first.
      for (let half = size - 8; half >= 0; half -= 8) {
        if (!mmu.crossesToCanonical(...at(half), at(half + 7)[1])) return STOP.FAULT;
        for (const i of [half, lastPiece(low, half)]) {
          if (mmu.translate(...at(i), mmu.userBit | ACCESS.WRITE) < 0) return STOP.FAULT;
        }
      }
      const chosen = (i: number): boolean => ((bytes[h.b(record) + i] as number) & 0x80) !== 0;
      for (let i = 0; i < size; i++) {
        if (!chosen(i)) continue;
        if (!mmu.writeVirtual(...at(i), h.a(record) + i, 1, record, mmu.userBit)) return STOP.FAULT;
      }
      return 0;
    },
    stringCompare: stringCompare(h),
  } satisfies Record<string, Helper>;
}

/** Offset of the byte of an 8-byte piece at `low + offset` that begins the piece's second page, or of the first byte. */
function lastPiece(low: number, offset: number): number {
  const inPage = (low + offset) & 0xfff;
  return inPage > 0xff8 ? offset + 0x1000 - inPage : offset;
}

export function simdHelpers(h: HelperContext) {
  return { ...gates(h), ...floats(h), ...bytewise(h) };
}

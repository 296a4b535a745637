import { assert } from '#util/assert.ts';
import { CorruptDataError } from './corrupt-data-error.ts';

/**
 * The LZMA core that the .lzma and .xz containers share, after Igor Pavlov's LZMA specification (LZMA SDK, lzma-specification.txt).
 *
 * The output buffer is the dictionary: the whole decoded data is kept, so a match is a copy within it.
 *
 * The range coder's state (`range`, `code`, `position`) lives in fields between symbols. The loops over the bits of one
 * symbol hold it in locals: a field access per bit halves the speed (measured on a 53 MB vmlinux).
 */

/** Probabilities are 11 bits wide, start at one half, and move by 1/32 of the distance per bit. */
const PROBABILITY_BITS = 11;
const PROBABILITY_ONE = 1 << PROBABILITY_BITS;
const PROBABILITY_INITIAL = PROBABILITY_ONE / 2;
const MOVE_BITS = 5;
/** Below this `range` takes in one more byte. */
const RANGE_MINIMUM = 2 ** 24;
const RANGE_CODER_HEADER_BYTES = 5;

const STATES = 12;
/** States below this one follow a literal. */
const FIRST_MATCH_STATE = 7;
const POSITION_STATES_MAX = 16;
const MATCH_LENGTH_MINIMUM = 2;

/** Layout of a length coder: two choices, then trees for short, middle and long lengths. */
const LENGTH = {
  CHOICE: 0,
  CHOICE_2: 1,
  LOW: 2,
  MIDDLE: 2 + 16 * 8,
  HIGH: 2 + 16 * 8 * 2,
  SIZE: 2 + 16 * 8 * 2 + 256,
} as const;
const LITERAL_CODER_SIZE = 0x300;

/** Distance slots: below 4 the slot is the distance; below 14 the low bits are modelled; above, only the last four are. */
const SLOT = { FIRST_MODELLED: 4, FIRST_DIRECT: 14, ALIGN_BITS: 4 } as const;
const SLOT_TREE_SIZE = 64;
const DISTANCE_CONTEXTS = 4;
/** The distance (less one, as an int32) that ends a stream which does not know its length. */
const END_MARKER = -1;

/** Where each model starts in the one array of probabilities. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POSITION_STATES_MAX;
const IS_REP_0 = IS_REP + STATES;
const IS_REP_1 = IS_REP_0 + STATES;
const IS_REP_2 = IS_REP_1 + STATES;
const IS_REP_0_LONG = IS_REP_2 + STATES;
const DISTANCE_SLOT = IS_REP_0_LONG + STATES * POSITION_STATES_MAX;
const DISTANCE_SPECIAL = DISTANCE_SLOT + DISTANCE_CONTEXTS * SLOT_TREE_SIZE;
const DISTANCE_ALIGN = DISTANCE_SPECIAL + 115;
const MATCH_LENGTH = DISTANCE_ALIGN + (1 << SLOT.ALIGN_BITS);
const REP_LENGTH = MATCH_LENGTH + LENGTH.SIZE;
const LITERAL = REP_LENGTH + LENGTH.SIZE;

/** lc, lp and pb of the specification: how many bits of what choose a literal's and a match's model. */
export interface LzmaProperties {
  readonly literalContextBits: number;
  readonly literalPositionBits: number;
  readonly positionBits: number;
}

/** The properties byte: (pb * 5 + lp) * 9 + lc. */
export function parseLzmaProperties(byte: number): LzmaProperties {
  if (byte >= 9 * 5 * 5) throw new CorruptDataError(`LZMA properties byte is ${byte}`);
  const literalContextBits = byte % 9;
  const rest = (byte - literalContextBits) / 9;
  const literalPositionBits = rest % 5;
  return { literalContextBits, literalPositionBits, positionBits: (rest - literalPositionBits) / 5 };
}

export class LzmaDecoder {
  /** Bytes of `output` that are decoded. */
  outputPosition = 0;
  /** Where in the input the decoder stands after `decode`. */
  position = 0;

  readonly #output: Uint8Array;
  #dictionaryStart = 0;
  #probabilities = new Uint16Array(LITERAL);
  #literalContextBits = 0;
  #literalPositionMask = 0;
  #positionMask = 0;

  #input: Uint8Array = new Uint8Array(0);
  #inputEnd = 0;
  /** Both are 32-bit patterns: signed when seen as numbers, compared as unsigned. */
  #range = 0;
  #code = 0;

  #state = 0;
  /** The last four distances, less one, as int32: a distance of 2^31 and more is negative, and always too far. */
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;

  /** `output` is borrowed: it receives the data and serves as the dictionary. */
  constructor(output: Uint8Array) {
    this.#output = output;
  }

  /** Forgets what was decoded: no later match may reach back before this point. */
  resetDictionary(): void {
    this.#dictionaryStart = this.outputPosition;
  }

  setProperties(properties: LzmaProperties): void {
    this.#literalContextBits = properties.literalContextBits;
    this.#literalPositionMask = (1 << properties.literalPositionBits) - 1;
    this.#positionMask = (1 << properties.positionBits) - 1;
    const literalCoders = 1 << (properties.literalContextBits + properties.literalPositionBits);
    this.#probabilities = new Uint16Array(LITERAL + literalCoders * LITERAL_CODER_SIZE);
    this.resetState();
  }

  resetState(): void {
    this.#probabilities.fill(PROBABILITY_INITIAL);
    this.#state = 0;
    this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  /** Takes bytes as they are into output and dictionary (an LZMA2 chunk that is not compressed). */
  copyUncompressed(bytes: Uint8Array): void {
    assert(bytes.length <= this.#output.length - this.outputPosition, 'the chunk does not fit into the output');
    this.#output.set(bytes, this.outputPosition);
    this.outputPosition += bytes.length;
  }

  /**
   * Decodes the range-coded bytes `start` to `end` of `input`: up to the end marker with `endMarker`, else until `outputEnd`
   * bytes of output are there. Never writes past `outputEnd`. Throws CorruptDataError.
   */
  decode(input: Uint8Array, range: { start: number; end: number; outputEnd: number; endMarker: boolean }): void {
    assert(range.outputEnd <= this.#output.length && range.end <= input.length, 'the range is outside the buffers');
    this.#input = input;
    this.#inputEnd = range.end;
    this.#startRangeCoder(range.start);
    const probabilities = this.#probabilities;
    const positionMask = this.#positionMask;
    while (range.endMarker || this.outputPosition < range.outputEnd) {
      const positionState = (this.outputPosition - this.#dictionaryStart) & positionMask;
      if (this.#bit(probabilities, IS_MATCH + this.#state * POSITION_STATES_MAX + positionState) === 0) {
        if (this.outputPosition >= range.outputEnd) throw new CorruptDataError('LZMA data is longer than announced');
        this.#literal(probabilities);
        continue;
      }
      const length = this.#matchLength(probabilities, positionState);
      if (length === 0) {
        if (!range.endMarker) throw new CorruptDataError('LZMA end marker where none may be');
        break;
      }
      this.#copyMatch(length, range.outputEnd);
    }
    this.#normalize();
  }

  /** True when the range coder has used up its data as an encoder leaves it. */
  get finished(): boolean {
    return this.#code === 0;
  }

  #startRangeCoder(start: number): void {
    if (this.#inputEnd - start < RANGE_CODER_HEADER_BYTES) throw new CorruptDataError('LZMA data ends early');
    if (this.#input[start] !== 0) throw new CorruptDataError('LZMA data does not start with a zero byte');
    const view = new DataView(this.#input.buffer, this.#input.byteOffset + start, RANGE_CODER_HEADER_BYTES);
    this.#code = view.getInt32(1);
    this.#range = -1;
    this.position = start + RANGE_CODER_HEADER_BYTES;
  }

  #normalize(): void {
    if (this.#range >>> 0 >= RANGE_MINIMUM) return;
    this.#range <<= 8;
    this.#code = (this.#code << 8) | this.#nextByte();
  }

  #nextByte(): number {
    if (this.position >= this.#inputEnd) throw new CorruptDataError('LZMA data ends early');
    return this.#input[this.position++] as number;
  }

  /** One modelled bit. */
  #bit(probabilities: Uint16Array, index: number): 0 | 1 {
    let range = this.#range;
    let code = this.#code;
    if (range >>> 0 < RANGE_MINIMUM) {
      range <<= 8;
      code = (code << 8) | this.#nextByte();
    }
    const probability = probabilities[index] as number;
    const bound = Math.imul(range >>> PROBABILITY_BITS, probability);
    if (code >>> 0 < bound >>> 0) {
      this.#range = bound;
      this.#code = code;
      probabilities[index] = probability + ((PROBABILITY_ONE - probability) >>> MOVE_BITS);
      return 0;
    }
    this.#range = (range - bound) | 0;
    this.#code = (code - bound) | 0;
    probabilities[index] = probability - (probability >>> MOVE_BITS);
    return 1;
  }

  /** A bit tree read from its highest bit; the result has the leading one that walks the tree still in front. */
  #tree(probabilities: Uint16Array, base: number, limit: number, first: number): number {
    const input = this.#input;
    let position = this.position;
    let range = this.#range;
    let code = this.#code;
    let symbol = first;
    do {
      if (range >>> 0 < RANGE_MINIMUM) {
        range <<= 8;
        code = (code << 8) | (input[position++] as number);
      }
      const index = base + symbol;
      const probability = probabilities[index] as number;
      const bound = Math.imul(range >>> PROBABILITY_BITS, probability);
      symbol <<= 1;
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probabilities[index] = probability + ((PROBABILITY_ONE - probability) >>> MOVE_BITS);
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probabilities[index] = probability - (probability >>> MOVE_BITS);
        symbol |= 1;
      }
    } while (symbol < limit);
    if (position > this.#inputEnd) throw new CorruptDataError('LZMA data ends early');
    this.position = position;
    this.#range = range;
    this.#code = code;
    return symbol;
  }

  /** A bit tree read from its lowest bit. */
  #reverseTree(probabilities: Uint16Array, base: number, bits: number): number {
    let symbol = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(probabilities, base + symbol);
      symbol = (symbol << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  /** Bits without a model, each as likely as the other. */
  #directBits(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.#normalize();
      this.#range >>>= 1;
      const over = this.#code >>> 0 >= this.#range;
      if (over) this.#code = (this.#code - this.#range) | 0;
      value = (value << 1) | (over ? 1 : 0);
    }
    return value;
  }

  #literal(probabilities: Uint16Array): void {
    const output = this.#output;
    const position = this.outputPosition;
    const offset = position - this.#dictionaryStart;
    const previous = offset > 0 ? (output[position - 1] as number) : 0;
    const low = (offset & this.#literalPositionMask) << this.#literalContextBits;
    const base = LITERAL + (low + (previous >>> (8 - this.#literalContextBits))) * LITERAL_CODER_SIZE;
    let symbol = 1;
    if (this.#state >= FIRST_MATCH_STATE) {
      symbol = this.#matchedBits(probabilities, base, output[position - this.#rep0 - 1] as number);
    }
    if (symbol < 0x100) symbol = this.#tree(probabilities, base, 0x100, symbol);
    output[position] = symbol & 0xff;
    this.outputPosition = position + 1;
    if (this.#state < 4) this.#state = 0;
    else this.#state -= this.#state < 10 ? 3 : 6;
  }

  /**
   * The first bits of a literal after a match. It differs from `matched`, the byte the match would have gone on with, so that
   * byte is part of the model up to the first bit that differs.
   */
  #matchedBits(probabilities: Uint16Array, base: number, matched: number): number {
    const input = this.#input;
    let position = this.position;
    let range = this.#range;
    let code = this.#code;
    let symbol = 1;
    let expected = matched;
    do {
      if (range >>> 0 < RANGE_MINIMUM) {
        range <<= 8;
        code = (code << 8) | (input[position++] as number);
      }
      const expectedBit = (expected >>> 7) & 1;
      expected <<= 1;
      const index = base + ((1 + expectedBit) << 8) + symbol;
      const probability = probabilities[index] as number;
      const bound = Math.imul(range >>> PROBABILITY_BITS, probability);
      const bit = code >>> 0 < bound >>> 0 ? 0 : 1;
      symbol = (symbol << 1) | bit;
      if (bit === 0) {
        range = bound;
        probabilities[index] = probability + ((PROBABILITY_ONE - probability) >>> MOVE_BITS);
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probabilities[index] = probability - (probability >>> MOVE_BITS);
      }
      if (bit !== expectedBit) break;
    } while (symbol < 0x100);
    if (position > this.#inputEnd) throw new CorruptDataError('LZMA data ends early');
    this.position = position;
    this.#range = range;
    this.#code = code;
    return symbol;
  }

  /** Reads what kind of match comes and its distance into `#rep0`. Returns its length; 0 is the end marker. */
  #matchLength(probabilities: Uint16Array, positionState: number): number {
    const state = this.#state;
    const afterLiteral = state < FIRST_MATCH_STATE;
    if (this.#bit(probabilities, IS_REP + state) === 0) {
      this.#rep3 = this.#rep2;
      this.#rep2 = this.#rep1;
      this.#rep1 = this.#rep0;
      const length = this.#length(probabilities, MATCH_LENGTH, positionState);
      this.#rep0 = this.#distance(probabilities, length);
      this.#state = afterLiteral ? 7 : 10;
      return this.#rep0 === END_MARKER ? 0 : length;
    }
    if (this.#bit(probabilities, IS_REP_0 + state) === 0) {
      if (this.#bit(probabilities, IS_REP_0_LONG + state * POSITION_STATES_MAX + positionState) === 0) {
        this.#state = afterLiteral ? 9 : 11;
        return 1;
      }
    } else this.#rotateDistances(probabilities, state);
    this.#state = afterLiteral ? 8 : 11;
    return this.#length(probabilities, REP_LENGTH, positionState);
  }

  /** Brings the second, third or fourth of the last distances to the front. */
  #rotateDistances(probabilities: Uint16Array, state: number): void {
    let distance = this.#rep1;
    if (this.#bit(probabilities, IS_REP_1 + state) === 1) {
      if (this.#bit(probabilities, IS_REP_2 + state) === 0) distance = this.#rep2;
      else {
        distance = this.#rep3;
        this.#rep3 = this.#rep2;
      }
      this.#rep2 = this.#rep1;
    }
    this.#rep1 = this.#rep0;
    this.#rep0 = distance;
  }

  #length(probabilities: Uint16Array, base: number, positionState: number): number {
    if (this.#bit(probabilities, base + LENGTH.CHOICE) === 0) {
      return this.#tree(probabilities, base + LENGTH.LOW + positionState * 8, 8, 1) - 8 + MATCH_LENGTH_MINIMUM;
    }
    if (this.#bit(probabilities, base + LENGTH.CHOICE_2) === 0) {
      return this.#tree(probabilities, base + LENGTH.MIDDLE + positionState * 8, 8, 1) + MATCH_LENGTH_MINIMUM;
    }
    return this.#tree(probabilities, base + LENGTH.HIGH, 256, 1) - 256 + 16 + MATCH_LENGTH_MINIMUM;
  }

  /** The distance, less one, of a match of `length` bytes. */
  #distance(probabilities: Uint16Array, length: number): number {
    const context = Math.min(length - MATCH_LENGTH_MINIMUM, DISTANCE_CONTEXTS - 1);
    const slot =
      this.#tree(probabilities, DISTANCE_SLOT + context * SLOT_TREE_SIZE, SLOT_TREE_SIZE, 1) - SLOT_TREE_SIZE;
    if (slot < SLOT.FIRST_MODELLED) return slot;
    const lowBits = (slot >>> 1) - 1;
    const high = (2 | (slot & 1)) << lowBits;
    if (slot < SLOT.FIRST_DIRECT) {
      return high + this.#reverseTree(probabilities, DISTANCE_SPECIAL + high - slot, lowBits);
    }
    const middle = this.#directBits(lowBits - SLOT.ALIGN_BITS) << SLOT.ALIGN_BITS;
    return high | middle | this.#reverseTree(probabilities, DISTANCE_ALIGN, SLOT.ALIGN_BITS);
  }

  #copyMatch(length: number, outputEnd: number): void {
    const output = this.#output;
    const to = this.outputPosition;
    const distance = this.#rep0 + 1;
    if (distance <= 0 || distance > to - this.#dictionaryStart)
      throw new CorruptDataError('LZMA match reaches back before the data');
    if (length > outputEnd - to) throw new CorruptDataError('LZMA data is longer than announced');
    // Byte by byte: source and target overlap when the distance is shorter than the length.
    for (let i = to, end = to + length; i < end; i++) output[i] = output[i - distance] as number;
    this.outputPosition = to + length;
  }
}

import { readConfigBytes } from '../device.ts';
import {
  BUS_VIRTUAL,
  CONFIG_BYTES,
  InputAbsInfo,
  InputConfigHeader,
  InputDevIds,
  InputSelect,
  UNION_BYTES,
} from './constants.ts';
import type { InputTable } from './input-table.ts';

const FIELD = InputConfigHeader.fields;
const BITS_MAX = 8 * UNION_BYTES;

/**
 * The device configuration of §5.8.4: the driver writes what it wants to know, and the answer and its size appear. What there is not
 * has size 0. All answers are made beforehand.
 */
export class InputConfiguration {
  readonly #image = new Uint8Array(CONFIG_BYTES);
  readonly #answers: ReadonlyMap<number, Uint8Array>;

  constructor(table: InputTable) {
    this.#answers = new Map(answersOf(table));
  }

  read(offset: number, data: Uint8Array): void {
    readConfigBytes(this.#image, offset, data);
  }

  /** Only the two selectors can be written, one byte or both. */
  write(offset: number, data: Uint8Array): void {
    for (let index = 0; index < data.length; index++) {
      const at = offset + index;
      if (at === FIELD.select.offset || at === FIELD.subsel.offset) this.#image[at] = data[index]!;
    }
    this.#answer();
  }

  reset(): void {
    this.#image.fill(0);
  }

  #answer(): void {
    const image = this.#image;
    const answer = this.#answers.get(key(image[FIELD.select.offset]!, image[FIELD.subsel.offset]!));
    image.fill(0, InputConfigHeader.size);
    image[FIELD.size.offset] = answer?.length ?? 0;
    if (answer !== undefined) image.set(answer, InputConfigHeader.size);
  }
}

const key = (select: number, subsel: number): number => select * 0x100 + subsel;

function* answersOf(table: InputTable): Iterable<readonly [number, Uint8Array]> {
  yield [key(InputSelect.ID_NAME, 0), asciiOf(table.name)];
  yield [key(InputSelect.ID_SERIAL, 0), asciiOf(table.serial)];
  const ids = { busType: BUS_VIRTUAL, vendor: 0, product: 0, version: 0 };
  yield [key(InputSelect.ID_DEVIDS, 0), InputDevIds.encode(ids)];
  yield [key(InputSelect.PROP_BITS, 0), bitmap(table.properties)];
  for (const [type, codes] of table.events) yield [key(InputSelect.EV_BITS, type), bitmap(codes)];
  for (const [axis, max] of table.axes) {
    yield [key(InputSelect.ABS_INFO, axis), InputAbsInfo.encode({ min: 0, max, fuzz: 0, flat: 0, resolution: 0 })];
  }
}

function asciiOf(text: string): Uint8Array {
  return Uint8Array.from(text.slice(0, UNION_BYTES), (character) => character.charCodeAt(0));
}

/** As long as its last bit asks for. */
function bitmap(bits: readonly number[]): Uint8Array {
  const inside = bits.filter((bit) => bit < BITS_MAX);
  const bytes = new Uint8Array(Math.ceil((Math.max(-1, ...inside) + 1) / 8));
  for (const bit of inside) bytes[bit >>> 3]! |= 1 << (bit & 7);
  return bytes;
}

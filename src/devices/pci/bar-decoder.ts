import { assert } from '#util/assert.ts';
import { FUNCTIONS_PER_BUS } from './pci-address.ts';
import { allBarRegisters, barRegisters, type PlacedBar } from './pci-bar.ts';
import { registerBytes } from './pci-configuration.ts';
import { BAR_COUNT, COMMAND, REGISTER } from './registers.ts';

export type PciSpace = 'memory' | 'io';

/** A BAR where the guest has put it, while it is decoded. */
export interface DecodedBar {
  readonly functionNumber: number;
  readonly bar: PlacedBar;
  readonly space: PciSpace;
  readonly start: number;
  /** One past the last address. */
  readonly end: number;
}

/** Words: a count of the changes, then for each function what the guest has written that decides about decoding. */
const STATE = { GENERATION: 0, FUNCTIONS: 1 } as const;
const FUNCTION = { PRESENT: 0, COMMAND: 1, BARS: 2, WORDS: 2 + BAR_COUNT } as const;

const COMMAND_BITS = COMMAND.IO_SPACE | COMMAND.MEMORY_SPACE;

interface Known {
  readonly functionNumber: number;
  readonly bars: readonly PlacedBar[];
  readonly masks: ReadonlyMap<number, number>;
}

/**
 * Which BAR answers an address. The bus follows what the guest writes to the base address and command registers instead of
 * asking the devices: an access needs no message to find its device, and a device that has been taken over can answer nowhere
 * but where the guest has put it. The words are shared by all threads; each keeps its own list and makes it anew when the
 * count has changed. Whoever calls `configWritten` holds the function's lock.
 */
export class BarDecoder {
  static readonly STATE_WORDS = STATE.FUNCTIONS + FUNCTIONS_PER_BUS * FUNCTION.WORDS;

  readonly #state: Int32Array;
  readonly #functions: Known[] = [];
  #decoded: readonly DecodedBar[] = [];
  #generation: number;
  #last: DecodedBar | undefined;

  constructor(state: Int32Array) {
    this.#state = state;
    this.#generation = Atomics.load(state, STATE.GENERATION) - 1;
  }

  /** The first thread that adds a function gives its BARs the addresses of `bars`. */
  add(functionNumber: number, bars: readonly PlacedBar[]): void {
    const masks = new Map(allBarRegisters(bars).map(({ register, addressMask }) => [register, addressMask]));
    this.#functions.push({ functionNumber, bars, masks });
    const base = stateIndex(functionNumber);
    if (Atomics.load(this.#state, base + FUNCTION.PRESENT) === 0) {
      for (const bar of bars) {
        assert(Number.isSafeInteger(bar.address) && bar.address % bar.sizeBytes === 0, 'a BAR is aligned to its size');
        barRegisters(bar).forEach(({ register }, i) => {
          this.#state[base + FUNCTION.BARS + register] = Math.floor(bar.address / 2 ** (32 * i)) % 2 ** 32;
        });
      }
      Atomics.store(this.#state, base + FUNCTION.PRESENT, 1);
    }
    this.#generation = Atomics.load(this.#state, STATE.GENERATION) - 1;
  }

  /** The guest has written a register of the function. */
  configWritten(functionNumber: number, register: number, offset: number, data: Uint8Array): void {
    const base = stateIndex(functionNumber);
    if (register === REGISTER.COMMAND_STATUS) {
      this.#merge(base + FUNCTION.COMMAND, COMMAND_BITS, registerBytes(offset, data));
      return;
    }
    const bar = register - REGISTER.BAR0;
    const mask = this.#functions.find((known) => known.functionNumber === functionNumber)?.masks.get(bar);
    if (mask !== undefined) this.#merge(base + FUNCTION.BARS + bar, mask, registerBytes(offset, data));
  }

  /** The BAR that answers; where the guest has put two at one address, always the same of them. */
  find(space: PciSpace, address: number): DecodedBar | undefined {
    if (this.#generation !== Atomics.load(this.#state, STATE.GENERATION)) this.#decode();
    const last = this.#last;
    if (last !== undefined && address >= last.start && address < last.end && last.space === space) return last;
    for (const candidate of this.#decoded) {
      if (address < candidate.start || address >= candidate.end || candidate.space !== space) continue;
      this.#last = candidate;
      return candidate;
    }
    return undefined;
  }

  /** The BARs of a function, with where the guest has put each; `start` is undefined while it is not decoded. For the holder of the function's lock. */
  placesOf(functionNumber: number): readonly { index: number; space: PciSpace; start: number | undefined }[] {
    const bars = this.#functions.find((known) => known.functionNumber === functionNumber)?.bars ?? [];
    return bars.map((bar) => ({
      index: bar.index,
      space: spaceOf(bar),
      start: this.#decodeBar(functionNumber, bar)[0]?.start,
    }));
  }

  #merge(index: number, writable: number, { value, mask }: { value: number; mask: number }): void {
    const before = this.#state[index]!;
    const after = (before & ~(writable & mask)) | (value & writable & mask);
    if (after === before) return;
    this.#state[index] = after;
    Atomics.add(this.#state, STATE.GENERATION, 1);
  }

  /** A change that comes meanwhile counts the generation on, so that the next look-up does this again. */
  #decode(): void {
    this.#generation = Atomics.load(this.#state, STATE.GENERATION);
    this.#last = undefined;
    this.#decoded = this.#functions.flatMap(({ functionNumber, bars }) =>
      bars.flatMap((bar) => this.#decodeBar(functionNumber, bar)),
    );
  }

  #decodeBar(functionNumber: number, bar: PlacedBar): DecodedBar[] {
    const base = stateIndex(functionNumber);
    const space = spaceOf(bar);
    const enabled = space === 'io' ? COMMAND.IO_SPACE : COMMAND.MEMORY_SPACE;
    if ((this.#state[base + FUNCTION.COMMAND]! & enabled) === 0) return [];
    const start = barRegisters(bar).reduce(
      (address, { register }, i) => address + (this.#state[base + FUNCTION.BARS + register]! >>> 0) * 2 ** (32 * i),
      0,
    );
    // Beyond every address that a processor can form; the double would not be exact.
    if (!Number.isSafeInteger(start + bar.sizeBytes)) return [];
    return [{ functionNumber, bar, space, start, end: start + bar.sizeBytes }];
  }
}

const spaceOf = (bar: PlacedBar): PciSpace => (bar.kind === 'io' ? 'io' : 'memory');

function stateIndex(functionNumber: number): number {
  return STATE.FUNCTIONS + functionNumber * FUNCTION.WORDS;
}

import { isSize } from '#util/bits.ts';
import { CodedError } from '#util/errors.ts';
import type { BusDevice } from './bus-device.ts';

export type BusErrorCode = 'BUS_OVERLAP' | 'BUS_BAD_RANGE';

/** A range that cannot be put on the bus. */
export class BusError extends CodedError<BusErrorCode> {
  override readonly name = 'BusError';
}

/** Addresses `start` to `start + sizeBytes - 1`. */
export interface BusRange {
  readonly start: number;
  readonly sizeBytes: number;
}

/** What a device sees as the offset of an access: its distance from the range's start, or the address itself. */
export type BusAddressing = 'relative' | 'absolute';

interface BusEntry {
  readonly start: number;
  /** One past the last address. */
  readonly end: number;
  /** Subtracted from the address of an access. */
  readonly base: number;
  readonly device: BusDevice;
}

/**
 * The devices of one address space (ports or memory), at most one at an address. The base address of an access alone chooses
 * the device: its last byte may lie outside the device's range. One copy (`clone`) per thread: a look-up remembers the last hit.
 */
export class Bus {
  /** Sorted by start, without overlap. */
  readonly #entries: BusEntry[];
  #last: BusEntry | undefined;

  constructor() {
    this.#entries = [];
  }

  /**
   * Puts `device` at `range`. A device may be put at several ranges.
   * @throws BusError `BUS_BAD_RANGE` when the range is empty or exceeds 2^53, `BUS_OVERLAP` when an address is taken.
   */
  insert(device: BusDevice, range: BusRange, addressing: BusAddressing): void {
    const { start, sizeBytes } = range;
    const end = start + sizeBytes;
    if (!isSize(start) || !isSize(sizeBytes) || !isSize(end) || sizeBytes === 0) {
      throw new BusError('BUS_BAD_RANGE', `${device.name}: no range of addresses: ${sizeBytes} bytes from ${start}`);
    }
    const index = this.#firstEndingAfter(start);
    const next = this.#entries[index];
    if (next !== undefined && next.start < end) {
      const taken = `${hex(next.start)}..${hex(next.end - 1)} of ${next.device.name}`;
      throw new BusError('BUS_OVERLAP', `${device.name}: ${hex(start)}..${hex(end - 1)} overlaps ${taken}`);
    }
    this.#entries.splice(index, 0, { start, end, base: addressing === 'relative' ? start : 0, device });
  }

  /** Takes every range of `device` off the bus; tells whether it had any. */
  remove(device: BusDevice): boolean {
    const kept = this.#entries.filter((entry) => entry.device !== device);
    const found = kept.length < this.#entries.length;
    this.#entries.splice(0, this.#entries.length, ...kept);
    this.#last = undefined;
    return found;
  }

  /** Fills `data` from the device at `address`; false, with `data` untouched, when there is none. */
  read(address: number, data: Uint8Array): boolean {
    const entry = this.#find(address);
    if (entry === undefined) return false;
    entry.device.read(address - entry.base, data);
    return true;
  }

  /** Gives `data` to the device at `address`; false when there is none. */
  write(address: number, data: Uint8Array): boolean {
    const entry = this.#find(address);
    if (entry === undefined) return false;
    entry.device.write(address - entry.base, data);
    return true;
  }

  /** The device at `address`. */
  deviceAt(address: number): BusDevice | undefined {
    return this.#find(address)?.device;
  }

  /** A bus with the same devices at the same addresses; later changes of one do not show in the other. */
  clone(): Bus {
    const copy = new Bus();
    copy.#entries.push(...this.#entries);
    return copy;
  }

  #find(address: number): BusEntry | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address < last.end) return last;
    const entry = this.#entries[this.#firstEndingAfter(address)];
    if (entry === undefined || address < entry.start) return undefined;
    this.#last = entry;
    return entry;
  }

  /** Index of the first entry that ends after `address`; the number of entries when there is none. */
  #firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function hex(address: number): string {
  return `0x${address.toString(16)}`;
}

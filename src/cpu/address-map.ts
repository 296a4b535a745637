/**
 * Which physical addresses are memory. Inside the processor an address of memory is its place after RAM_BASE: RAM's own addresses,
 * then those of regions elsewhere in the physical address space, so that only what is not RAM costs a look-up.
 */
import { assert } from '#util/assert.ts';
import { PHYSICAL_BITS } from './cpuid.ts';

/** Memory at physical addresses outside RAM. */
export interface MappedRegion {
  /** Whole pages. */
  readonly start: number;
  readonly sizeBytes: number;
  /** The place after RAM_BASE: pages from the end of RAM on. */
  readonly place: number;
  /** Writes go to the devices, which drop them. */
  readonly isReadOnly: boolean;
}

/** Added to addresses that are no memory: above every place and every physical address, exact in a double. */
const ELSEWHERE = 2 ** 50;
/** One past the last physical address. */
const NOWHERE = 2 ** PHYSICAL_BITS;

export class AddressMap {
  readonly ramSizeBytes: number;
  /** One past the last place of memory: RAM and all that regions may take. */
  readonly endPlace: number;
  /** Called before an address outside RAM is looked up: may call `setRegions`. */
  beforeLookup: () => void = () => {};
  #regions: readonly MappedRegion[] = [];

  /** `roomBytes`: what regions may take in all. */
  constructor(ramSizeBytes: number, roomBytes: number) {
    this.ramSizeBytes = ramSizeBytes;
    this.endPlace = ramSizeBytes + roomBytes;
  }

  /** All regions there are from now on. Translations made before must be forgotten by the caller. */
  setRegions(regions: readonly MappedRegion[]): void {
    for (const { start, sizeBytes, place } of regions) {
      assert([start, sizeBytes, place].every((value) => value % 4096 === 0) && sizeBytes > 0, 'pages');
      assert(start >= this.ramSizeBytes, 'a region lies outside RAM');
      assert(place >= this.ramSizeBytes && place + sizeBytes <= this.endPlace, 'a place in the room');
    }
    this.#regions = regions;
  }

  /** The place of an address outside RAM; one of no memory is `endPlace` or more. */
  placeOf(physical: number): number {
    this.beforeLookup();
    for (const { start, sizeBytes, place } of this.#regions) {
      if (physical >= start && physical < start + sizeBytes) return place + (physical - start);
    }
    return ELSEWHERE + physical;
  }

  /** The physical address of a place. */
  physicalOf(place: number): number {
    if (place < this.ramSizeBytes) return place;
    if (place >= ELSEWHERE) return place - ELSEWHERE;
    const region = this.#regionAt(place);
    // Of a region that went while an instruction was under way nothing is left.
    return region === undefined ? NOWHERE : region.start + (place - region.place);
  }

  /** Whether a place of memory, in RAM or not, may be written. */
  isWritable(place: number): boolean {
    if (place < this.ramSizeBytes) return true;
    const region = this.#regionAt(place);
    return region !== undefined && !region.isReadOnly;
  }

  #regionAt(place: number): MappedRegion | undefined {
    return this.#regions.find((region) => place >= region.place && place < region.place + region.sizeBytes);
  }
}

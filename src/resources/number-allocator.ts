import { assert } from '#util/assert.ts';
import { ResourceError } from './resource-error.ts';

/** Hands out single numbers, lowest first. */
export class NumberAllocator {
  readonly #name: string;
  readonly #first: number;
  readonly #owners: (string | undefined)[];

  constructor(name: string, { first, count }: { readonly first: number; readonly count: number }) {
    assert(Number.isInteger(first) && first >= 0 && Number.isInteger(count) && count >= 0, 'a range of numbers');
    this.#name = name;
    this.#first = first;
    this.#owners = Array.from({ length: count });
  }

  /** The lowest free number. Throws ResourceError EXHAUSTED. */
  allocate(tag: string): number {
    const index = this.#owners.indexOf(undefined);
    if (index < 0) {
      throw new ResourceError(
        'EXHAUSTED',
        `${this.#name} are exhausted: ${tag} asks for one; all ${this.#owners.length} are taken`,
      );
    }
    this.#owners[index] = tag;
    return this.#first + index;
  }

  /** Takes the number that is wanted. Throws ResourceError: TAKEN with its owner, BAD_REQUEST when there is no such number. */
  reserve(number: number, tag: string): void {
    const index = number - this.#first;
    if (!Number.isInteger(number) || index < 0 || index >= this.#owners.length) {
      throw new ResourceError('BAD_REQUEST', `${this.#name}: ${tag} asks for ${number}, which there is not`);
    }
    const owner = this.#owners[index];
    if (owner !== undefined)
      throw new ResourceError('TAKEN', `${this.#name}: ${tag} asks for ${number}, which is ${owner}'s`);
    this.#owners[index] = tag;
  }

  /** Gives back what `allocate` or `reserve` gave. */
  release(number: number): void {
    const index = number - this.#first;
    assert(this.#owners[index] !== undefined, `${this.#name}: ${number} was not handed out`);
    this.#owners[index] = undefined;
  }

  ownerOf(number: number): string | undefined {
    return this.#owners[number - this.#first];
  }
}

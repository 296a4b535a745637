import type { Fd } from '#sys/fd.ts';
import { read } from '#sys/file.ts';

/** Where the guest's random bytes come from. */
export interface EntropySource {
  /** Fills all of `target`. Throws when it cannot. */
  fill(target: Uint8Array): void;
  /** The descriptors that a jailed device keeps. */
  keepFds(): readonly number[];
}

/**
 * The kernel's generator by an open /dev/urandom. Not node:crypto: a generator in this process would be copied by the fork, and
 * two devices would hand out the same bytes.
 */
export class UrandomSource implements EntropySource {
  readonly #fd: Fd;

  /** Takes over the descriptor of a character device that gives random bytes. */
  constructor(fd: Fd) {
    this.#fd = fd;
  }

  fill(target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const count = read(this.#fd.fd, target.subarray(done));
      if (count === 0) throw new Error('the entropy source has ended');
      done += count;
    }
  }

  keepFds(): readonly number[] {
    return [this.#fd.fd];
  }
}

import bunzip from 'seek-bzip';
import { errorMessage } from '#util/errors.ts';
import { CorruptDataError } from './corrupt-data-error.ts';

class Input extends bunzip.Stream {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    super();
    this.#bytes = bytes;
  }

  override readByte(): number {
    // The decoder takes -1 for more bits within a block, and would go on.
    if (this.#position >= this.#bytes.length) throw new CorruptDataError('bzip2 data is truncated');
    return this.#bytes[this.#position++] as number;
  }
}

class Output extends bunzip.Stream {
  position = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    super();
    this.#bytes = bytes;
  }

  override writeByte(byte: number): void {
    if (this.position >= this.#bytes.length) throw new CorruptDataError('bzip2 data is longer than announced');
    this.#bytes[this.position++] = byte;
  }
}

/** Decodes a bzip2 stream that yields exactly `output.length` bytes. Throws CorruptDataError. */
export function decompressBzip2(input: Uint8Array, output: Uint8Array): void {
  const target = new Output(output);
  try {
    bunzip.decode(new Input(input), target);
  } catch (error) {
    if (error instanceof CorruptDataError) throw error;
    throw new CorruptDataError(`bzip2 data is corrupt: ${errorMessage(error)}`, { cause: error });
  }
  if (target.position !== output.length) {
    throw new CorruptDataError(`bzip2 data holds ${target.position} bytes, ${output.length} are expected`);
  }
}

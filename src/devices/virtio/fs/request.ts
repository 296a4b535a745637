import { viewOf } from '#util/struct.ts';
import type { ChainReader } from '../queue/chain-cursor.ts';
import { InHeader, NAME_MAX, PATH_MAX, XATTR_MAX_BYTES } from './constants.ts';

/** The most that a request has besides its header and what WRITE writes: SETXATTR with the longest value. */
const ARGUMENT_BYTES = XATTR_MAX_BYTES + PATH_MAX;
/** Longer names the host refuses itself; the guest's kernel sends none beyond FUSE_NAME_MAX. */
const NAME_BYTES_MAX = 4 * NAME_MAX;

const NUL = 0;
const SLASH = 0x2f;
const DOT = 0x2e;

const { len: LEN, opcode: OPCODE, nodeid: NODEID, uid: UID, gid: GID, unique: UNIQUE } = InHeader.fields;

/** A request that was copied out of the guest's memory, and how far it has been read. Refilled for each. */
export class FuseRequest {
  /** The guest's number of the request, as it goes back. */
  readonly unique: Uint8Array;
  /** Arguments at the offsets that `take` returns. */
  readonly view: DataView<ArrayBuffer>;
  readonly #header = new Uint8Array(new ArrayBuffer(InHeader.size));
  readonly #headerView = viewOf(this.#header);
  readonly #bytes = new Uint8Array(new ArrayBuffer(ARGUMENT_BYTES));
  #end = 0;
  #at = 0;

  constructor() {
    this.view = viewOf(this.#bytes);
    this.unique = UNIQUE.get(this.#headerView, 0);
  }

  get opcode(): number {
    return OPCODE.get(this.#headerView, 0);
  }

  get nodeid(): number {
    return NODEID.get(this.#headerView, 0);
  }

  get uid(): number {
    return UID.get(this.#headerView, 0);
  }

  get gid(): number {
    return GID.get(this.#headerView, 0);
  }

  /** Copies the header; false when there is none, or when it speaks of another size than that of the buffers. */
  readHeader(reader: ChainReader): boolean {
    const sizeBytes = reader.remaining;
    this.#end = 0;
    this.#at = 0;
    this.#header.fill(0);
    return reader.read(this.#header) === InHeader.size && LEN.get(this.#headerView, 0) === sizeBytes;
  }

  /** Copies what follows, at most `sizeBytes` of it; false when that is too long for any request. */
  readArguments(reader: ChainReader, sizeBytes = reader.remaining): boolean {
    if (sizeBytes > ARGUMENT_BYTES) return false;
    this.#end = reader.read(this.#bytes.subarray(0, sizeBytes));
    return true;
  }

  /** The offset of the next `sizeBytes` in `view`, or -1 when the request ends before. */
  take(sizeBytes: number): number {
    const at = this.#at;
    if (sizeBytes > this.#end - at) return -1;
    this.#at = at + sizeBytes;
    return at;
  }

  /** The next `sizeBytes`, in place; undefined when the request ends before. */
  takeBytes(sizeBytes: number): Uint8Array | undefined {
    const at = this.take(sizeBytes);
    return at < 0 ? undefined : this.#bytes.subarray(at, at + sizeBytes);
  }

  /** A text with its NUL, in place; undefined when it is empty, or longer than `max` without the NUL, or does not end. */
  takeText(max: number): Uint8Array | undefined {
    const from = this.#at;
    const to = this.#bytes.indexOf(NUL, from);
    if (to <= from || to >= this.#end || to - from > max) return undefined;
    this.#at = to + 1;
    return this.#bytes.subarray(from, to + 1);
  }

  /** The name of an entry, with its NUL; undefined for what is none: `.` and `..` too, which Linux resolves itself. */
  takeName(): Uint8Array | undefined {
    const name = this.takeText(NAME_BYTES_MAX);
    if (name === undefined || name.includes(SLASH)) return undefined;
    const isDots = name[0] === DOT && (name.length === 2 || (name.length === 3 && name[1] === DOT));
    return isDots ? undefined : name;
  }
}

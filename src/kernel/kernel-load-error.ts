import { CodedError } from '#util/errors.ts';

/** Why a kernel or an initrd cannot be loaded. The names are stable. */
export type KernelLoadErrorCode =
  /** Missing, not a regular file, or not readable; `cause` is the system's error. */
  | 'KERNEL_UNREADABLE'
  | 'KERNEL_EMPTY'
  /** Shorter than its headers say. */
  | 'KERNEL_TRUNCATED'
  /** Neither an ELF image nor a bzImage. */
  | 'KERNEL_UNKNOWN_FORMAT'
  /** A header field contradicts another one or its specification. */
  | 'KERNEL_BAD_HEADER'
  /** For another machine: ELF class, byte order or machine; or a bzImage without 64-bit entry. */
  | 'KERNEL_WRONG_ARCHITECTURE'
  /** A boot protocol older than 2.06, or an image that loads low. */
  | 'KERNEL_OLD_PROTOCOL'
  | 'KERNEL_BAD_SEGMENT'
  | 'KERNEL_SEGMENTS_OVERLAP'
  | 'KERNEL_OUTSIDE_RAM'
  /** Would overwrite what the boot protocol keeps below 1 MiB. */
  | 'KERNEL_BELOW_1MIB'
  | 'KERNEL_BAD_ENTRY'
  /** The compressed payload is larger than the machine's RAM, or says that it grows larger. */
  | 'KERNEL_PAYLOAD_TOO_LARGE'
  | 'KERNEL_PAYLOAD_CORRUPT'
  | 'INITRD_UNREADABLE'
  | 'INITRD_EMPTY'
  | 'INITRD_TRUNCATED'
  | 'INITRD_TOO_LARGE';

/** A kernel or initrd file that cannot be loaded. The message is one line and names the file. */
export class KernelLoadError extends CodedError<KernelLoadErrorCode> {
  override readonly name = 'KernelLoadError';
  readonly path: string;

  constructor(code: KernelLoadErrorCode, path: string, problem: string, options?: ErrorOptions) {
    const file = code.startsWith('INITRD') ? 'initrd' : 'kernel';
    super(code, `${file} ${quoted(path)}: ${problem}`, options);
    this.path = path;
  }
}

/** In quotation marks, with every character escaped that could break the line or command a terminal. */
function quoted(path: string): string {
  const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(path).replace(/[\x7f-\x9f\u2028\u2029]/g, escaped);
}

/** An address or size as messages show it. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Packets of GDB's remote serial protocol: "Debugging with GDB", appendix E.1. What comes in is hostile. */

/** The most that a packet's data has, and what we say to GDB as PacketSize. */
export const PACKET_MAX_BYTES = 0x4000;

const BYTE = { INTERRUPT: 3, START: 0x24, END: 0x23, ESCAPE: 0x7d, REPEAT: 0x2a, ACK: 0x2b, NAK: 0x2d } as const;
const ESCAPE_XOR = 0x20;
const ESCAPED: ReadonlySet<number> = new Set([BYTE.START, BYTE.END, BYTE.ESCAPE, BYTE.REPEAT]);

export type GdbInput =
  /** Data as it was sent, one character for each byte: binary data is still escaped. */
  | { readonly kind: 'packet'; readonly data: string }
  /** A packet whose sum is wrong. */
  | { readonly kind: 'damaged' }
  | { readonly kind: 'interrupt' }
  /** The last answer came damaged. */
  | { readonly kind: 'nak' }
  /** More than a packet may have. Nothing comes after it. */
  | { readonly kind: 'too-long' };

/** Takes bytes as they come and makes packets of them. Keeps at most one packet. */
export class PacketReader {
  readonly #data = new Uint8Array(PACKET_MAX_BYTES);
  #sizeBytes = 0;
  #sum = 0;
  #state: 'outside' | 'inside' | 'sum-high' | 'sum-low' | 'lost' = 'outside';
  #sumSent = 0;

  *read(bytes: Uint8Array): Iterable<GdbInput> {
    for (const byte of bytes) {
      const input = this.#take(byte);
      if (input !== undefined) yield input;
    }
  }

  #take(byte: number): GdbInput | undefined {
    switch (this.#state) {
      case 'outside':
        return this.#outside(byte);
      case 'inside':
        return this.#inside(byte);
      case 'sum-high':
        this.#sumSent = digit(byte) * 16;
        this.#state = 'sum-low';
        return undefined;
      case 'sum-low':
        this.#state = 'outside';
        // A digit that is none makes NaN, which is no sum.
        if (this.#sumSent + digit(byte) !== this.#sum) return { kind: 'damaged' };
        return { kind: 'packet', data: latin1(this.#data.subarray(0, this.#sizeBytes)) };
      case 'lost':
        return undefined;
    }
  }

  #outside(byte: number): GdbInput | undefined {
    if (byte === BYTE.INTERRUPT) return { kind: 'interrupt' };
    if (byte === BYTE.NAK) return { kind: 'nak' };
    if (byte === BYTE.START) this.#begin();
    return undefined;
  }

  #inside(byte: number): GdbInput | undefined {
    if (byte === BYTE.END) this.#state = 'sum-high';
    else if (byte === BYTE.START) this.#begin();
    else if (this.#sizeBytes === PACKET_MAX_BYTES) {
      this.#state = 'lost';
      return { kind: 'too-long' };
    } else {
      this.#data[this.#sizeBytes++] = byte;
      this.#sum = (this.#sum + byte) & 0xff;
    }
    return undefined;
  }

  #begin(): void {
    this.#state = 'inside';
    this.#sizeBytes = 0;
    this.#sum = 0;
  }
}

function digit(byte: number): number {
  const value = Number.parseInt(String.fromCharCode(byte), 16);
  return value;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** A packet of this data, one byte for each character, in which nothing needs to be escaped. */
export function packetOf(data: string): Uint8Array {
  const bytes = Buffer.from(data, 'latin1');
  const sum = bytes.reduce((all, byte) => (all + byte) & 0xff, 0);
  return Buffer.from(`$${data}#${sum.toString(16).padStart(2, '0')}`, 'latin1');
}

/** Binary data as it stands in a packet. */
export function escaped(data: string): string {
  let text = '';
  for (const character of data) {
    const byte = character.charCodeAt(0);
    text += ESCAPED.has(byte) ? `}${String.fromCharCode(byte ^ ESCAPE_XOR)}` : character;
  }
  return text;
}

/** What `escaped` was made of; undefined where an escape has nothing behind it. */
export function unescaped(text: string): Uint8Array | undefined {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    let byte = text.charCodeAt(at);
    if (byte === BYTE.ESCAPE) {
      if (++at === text.length) return undefined;
      byte = text.charCodeAt(at) ^ ESCAPE_XOR;
    }
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

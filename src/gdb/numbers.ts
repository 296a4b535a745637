/** The numbers of GDB's protocol: hexadecimal, without a prefix. All are hostile: undefined where the text is none. */

const HEX = /^[0-9a-f]+$/i;

/** Up to 64 bits. */
export function addressOf(text: string | undefined): bigint | undefined {
  return text !== undefined && HEX.test(text) && text.length <= 16 ? BigInt(`0x${text}`) : undefined;
}

/** Up to 32 bits. */
export function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && HEX.test(text) && text.length <= 8 ? Number.parseInt(text, 16) : undefined;
}

/** Bytes of two digits each. */
export function bytesOf(text: string): Uint8Array | undefined {
  return text.length % 2 === 0 && (text === '' || HEX.test(text)) ? Uint8Array.fromHex(text) : undefined;
}

export const hexOf = (bytes: Uint8Array): string => bytes.toHex();

/** A thread's id is its number here, from 0 on, plus 1: GDB's 0 is any, and −1 all. */
export type ThreadId = number | 'any' | 'all';

export function threadOf(text: string | undefined, count: number): ThreadId | undefined {
  if (text === '-1') return 'all';
  const id = numberOf(text);
  if (id === undefined || id > count) return undefined;
  return id === 0 ? 'any' : id - 1;
}

export const threadId = (thread: number): string => (thread + 1).toString(16);

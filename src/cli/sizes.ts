const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes from a number, or one with K, M, G or T behind it; undefined for other text. May be more than a safe integer. */
export function sizeOf(text: string): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,16})([KMGT]?)$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits) * (UNITS[unit] ?? 1);
}

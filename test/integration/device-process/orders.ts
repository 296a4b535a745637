/** Where the guest memory says what a device of escape-entry.ts does, and where that says what came of it. */
export const ORDERS = { ATTEMPT: 0, VICTIM: 4, RESULT: { rng: 8, block: 12, balloon: 16, console: 20 } } as const;
/** The kinds of devices of a machine with one disk and a virtio console, in the order in which they are made. */
export const KINDS = ['rng', 'block', 'console', 'balloon'] as const;
export type Kind = (typeof KINDS)[number];
/** The exit status of a device that has made its attempt and lived. */
export const MADE = 44;

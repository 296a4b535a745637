/** Where the guest memory says what a device of escape-entry.ts does, and where that says what came of it. */
export const ORDERS = { ATTEMPT: 0, VICTIM: 4, RESULT: { rng: 8, block: 12 } } as const;
/** The exit status of a device that has made its attempt and lived. */
export const MADE = 44;

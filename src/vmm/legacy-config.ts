/** The devices of the board that can be in processes of their own, besides the serial ports, which say so themselves. */

export const ISOLATED_DEVICES = ['i8042', 'cmos'] as const;
export type IsolatedDevice = (typeof ISOLATED_DEVICES)[number];

import type { Attack } from './attack.ts';

/** Something that no driver should do. */
export interface HostileCase {
  readonly name: string;
  /** The devices that it makes sense for; all by default. */
  readonly only?: readonly string[];
  /** Returns what came of it in a word or two that do not change from run to run. The device was reset before. */
  readonly run: (attack: Attack) => string;
}

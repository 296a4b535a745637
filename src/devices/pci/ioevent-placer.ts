import type { IoeventWatcher } from '#hypervisor/ioevent-watcher.ts';
import { loadNumber, NUMBER_WORDS, storeNumber } from '#util/state-words.ts';
import type { BarDecoder } from './bar-decoder.ts';
import { FUNCTIONS_PER_BUS } from './pci-address.ts';
import type { IoEvent } from './pci-device.ts';
import { BAR_COUNT } from './registers.ts';

/** Nobody's address: what the words of a BAR hold whose ioevents are not watched. */
const NOWHERE = 0;
const FUNCTION_WORDS = BAR_COUNT * NUMBER_WORDS;

/**
 * Has the hypervisor watch the ioevents of functions where the guest puts their BARs. Every thread has its own over the same words:
 * where each BAR was when its ioevents were last watched. Whoever calls holds the function's lock.
 */
export class IoeventPlacer {
  static readonly STATE_WORDS = FUNCTIONS_PER_BUS * FUNCTION_WORDS;

  readonly #state: Int32Array;
  readonly #watcher: IoeventWatcher;

  constructor(state: Int32Array, watcher: IoeventWatcher) {
    this.#state = state;
    this.#watcher = watcher;
  }

  /** The guest may have moved BARs of the function. */
  update(functionNumber: number, ioevents: readonly IoEvent[], decoder: BarDecoder): void {
    for (const { index, space, start } of decoder.placesOf(functionNumber)) {
      const own = ioevents.filter((ioevent) => ioevent.comesAndGoes !== true && ioevent.bar === index);
      const at = functionNumber * FUNCTION_WORDS + index * NUMBER_WORDS;
      const before = loadNumber(this.#state, at);
      const after = start ?? NOWHERE;
      if (own.length === 0 || after === before) continue;
      storeNumber(this.#state, at, after);
      for (const { offset, event } of own) {
        if (before !== NOWHERE) this.#watcher.unwatch({ space, address: before + offset }, event);
        if (after !== NOWHERE) this.#watcher.watch({ space, address: after + offset }, event);
      }
    }
  }
}

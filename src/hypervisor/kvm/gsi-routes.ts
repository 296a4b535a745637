import { assert } from '#util/assert.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import type { GsiRoute, KvmVmFd } from './kvm-vm-fd.ts';

/** Routes that KVM has room for (KVM_MAX_IRQ_ROUTES), those of the chips' pins among them. */
export const GSI_COUNT = 4096;
/** Pins of the I/O APIC; the PICs have the first of them, but for their own cascade. */
export const PIN_COUNT = 24;
const PIC_PIN_COUNT = 8;
const CASCADE_PIN = 2;
/** Messages to addresses from 4 GiB on are no interrupts: their route is as none. */
const ADDRESS_END = 2 ** 32;

/** Words: those of a route are an address, 0 for none, and data. */
const WORD = { MUTEX: 0, ROUTES: 1 } as const;
const ROUTE = { ADDRESS: 0, DATA: 1, WORDS: 2 } as const;

/** What KVM's GSIs do, as all threads know it together: KVM takes only whole tables. */
export class GsiRoutes {
  static readonly WORDS = WORD.ROUTES + GSI_COUNT * ROUTE.WORDS;

  readonly #words: Int32Array;
  readonly #mutex: SharedMutex;
  readonly #vm: KvmVmFd;
  readonly #pins: readonly GsiRoute[];

  /** `pins`: routes that never change. */
  constructor(words: Int32Array, vm: KvmVmFd, pins: readonly GsiRoute[]) {
    this.#words = words;
    this.#mutex = new SharedMutex(words, WORD.MUTEX);
    this.#vm = vm;
    this.#pins = pins;
  }

  /** The GSI sends this message when it is signalled. Throws SyscallError. */
  set(gsi: number, address: number, data: number): void {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < GSI_COUNT, 'a GSI of the routing table');
    const at = WORD.ROUTES + gsi * ROUTE.WORDS;
    const low = (address < ADDRESS_END ? address : 0) | 0;
    this.#mutex.run(() => {
      // A change makes the kernel wait for all of its readers, which takes milliseconds.
      if (this.#words[at + ROUTE.ADDRESS] === low && this.#words[at + ROUTE.DATA] === (data | 0)) return;
      this.#words[at + ROUTE.ADDRESS] = low;
      this.#words[at + ROUTE.DATA] = data;
      this.#vm.setGsiRoutes([...this.#pins, ...this.#messages()]);
    });
  }

  #messages(): GsiRoute[] {
    const routes: GsiRoute[] = [];
    for (let gsi = 0; gsi < GSI_COUNT; gsi++) {
      const at = WORD.ROUTES + gsi * ROUTE.WORDS;
      const address = (this.#words[at + ROUTE.ADDRESS] as number) >>> 0;
      const data = (this.#words[at + ROUTE.DATA] as number) >>> 0;
      if (address !== 0) routes.push({ gsi, address, data });
    }
    return routes;
  }
}

/** The pins of chips in the kernel: GSI n is pin n of the I/O APIC, and one of the PICs'. */
export function pinRoutes(): GsiRoute[] {
  const routes: GsiRoute[] = [];
  for (let gsi = 0; gsi < PIN_COUNT; gsi++) {
    routes.push({ gsi, chip: 'IOAPIC', pin: gsi });
    if (gsi >= 2 * PIC_PIN_COUNT || gsi === CASCADE_PIN) continue;
    routes.push({ gsi, chip: gsi < PIC_PIN_COUNT ? 'PIC_MASTER' : 'PIC_SLAVE', pin: gsi % PIC_PIN_COUNT });
  }
  return routes;
}

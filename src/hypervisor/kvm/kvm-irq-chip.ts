import { assert } from '#util/assert.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import type { InterruptLine, IrqChip, IrqChipDevice, IrqChipPart } from '../irq-chip.ts';
import { PIN_COUNT } from './gsi-routes.ts';
import type { KvmVmFd } from './kvm-vm-fd.ts';

/** Devices that can share an interrupt: one bit each in a word. */
const SOURCE_COUNT = 31;
/** Messages of interrupts, Intel SDM vol. 3 §11.11.1. */
const MSI_PREFIX = 0xfee;

/** Words: a lock, and for each interrupt a bit for each source that asserts it. */
const WORD = { MUTEX: 0, LEVELS: 1 } as const;

/** PICs, I/O APIC, local APICs and timer in the kernel. Every thread makes its own object over the same words. */
export class KvmIrqChip implements IrqChip {
  static readonly WORDS = WORD.LEVELS + PIN_COUNT;

  readonly parts: ReadonlyMap<IrqChipPart, IrqChipDevice> = new Map();
  readonly #vm: KvmVmFd;
  readonly #words: Int32Array;
  readonly #mutex: SharedMutex;

  constructor(words: Int32Array, vm: KvmVmFd) {
    this.#words = words;
    this.#mutex = new SharedMutex(words, WORD.MUTEX);
    this.#vm = vm;
  }

  line(gsi: number, source = 0): InterruptLine {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < PIN_COUNT, 'no such global system interrupt');
    assert(Number.isInteger(source) && source >= 0 && source < SOURCE_COUNT, 'no such interrupt source');
    const bit = 1 << source;
    return {
      set: (asserted) => {
        // A source's own bit changes by nobody else, so that an unchanged level needs no lock.
        if ((((this.#words[WORD.LEVELS + gsi] as number) & bit) !== 0) === asserted) return;
        this.#mutex.lock();
        try {
          this.#drive(gsi, bit, asserted);
        } finally {
          this.#mutex.unlock();
        }
      },
    };
  }

  send(address: number, data: number): void {
    if (Math.floor(address / 2 ** 20) === MSI_PREFIX) this.#vm.signalMsi(address, data);
  }

  #drive(gsi: number, bit: number, asserted: boolean): void {
    const before = this.#words[WORD.LEVELS + gsi] as number;
    const levels = asserted ? before | bit : before & ~bit;
    this.#words[WORD.LEVELS + gsi] = levels;
    if ((before !== 0) !== (levels !== 0)) this.#vm.setIrqLine(gsi, asserted);
  }
}

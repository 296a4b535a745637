import type { InterruptLine } from '#hypervisor/irq-chip.ts';

/**
 * A level as an eventfd that main watches: one signal asserts it until the guest ends the interrupt's service, as KVM's irqfd with
 * resample has it. `letGo` is to be called when that is told. Nothing lowers it before.
 */
export class IrqfdLine implements InterruptLine {
  readonly #irqfd: { write(): void };
  #isAsserted = false;

  constructor(irqfd: { write(): void }) {
    this.#irqfd = irqfd;
  }

  set(asserted: boolean): void {
    if (asserted && !this.#isAsserted) this.#irqfd.write();
    this.#isAsserted = asserted;
  }

  letGo(): void {
    this.#isAsserted = false;
  }
}

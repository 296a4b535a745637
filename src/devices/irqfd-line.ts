import type { InterruptLine } from '#hypervisor/irq-chip.ts';

/**
 * A line as an eventfd that main watches: each rise is a signal, a fall is nothing. That is an edge-triggered interrupt. A level is asserted by
 * the signal until the guest ends the interrupt's service, as KVM's irqfd with resample has it: `letGo` is to be called when that is told.
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

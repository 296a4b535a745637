import type { InterruptLine } from '#hypervisor/irq-chip.ts';

/** The line of an edge-triggered interrupt as an eventfd that main watches: each rise is a signal, a fall is nothing. */
export class EdgeLine implements InterruptLine {
  readonly #irqfd: { write(): void };
  #isAsserted = false;

  constructor(irqfd: { write(): void }) {
    this.#irqfd = irqfd;
  }

  set(asserted: boolean): void {
    if (asserted && !this.#isAsserted) this.#irqfd.write();
    this.#isAsserted = asserted;
  }
}

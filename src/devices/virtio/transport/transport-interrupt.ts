import { NO_VECTOR } from '../constants.ts';
import type { Interrupt } from '../interrupt.ts';
import { ISR } from './common-config.ts';

/** What the PCI function gives the transport. */
export interface PciInterrupt {
  readonly msixEnabled: boolean;
  /** An MSI-X vector; one that is masked becomes pending. */
  trigger(vector: number): void;
  /** Drives INTx. The transport lowers it when the driver reads the ISR status, never else but on reset. */
  setLine(asserted: boolean): void;
}

/** Interrupts by MSI-X or, while that is off, by ISR status and INTx: VIRTIO 1.1 §4.1.5.1.3 and §4.1.5.2. */
export class TransportInterrupt implements Interrupt {
  /** `msix_config`. */
  configVector: number = NO_VECTOR;
  readonly #pci: PciInterrupt;
  readonly #needReset: (reason: string) => void;
  #isr = 0;

  constructor(pci: PciInterrupt, needReset: (reason: string) => void) {
    this.#pci = pci;
    this.#needReset = needReset;
  }

  signalUsedQueue(vector: number): void {
    this.#signal(vector, ISR.QUEUE);
  }

  signalConfigChanged(): void {
    this.#signal(this.configVector, ISR.CONFIG);
  }

  signalNeedsReset(reason: string): void {
    this.#needReset(reason);
  }

  /** Reads the ISR status, which clears it, §4.1.4.5.1. */
  takeIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    if (isr !== 0) this.#pci.setLine(false);
    return isr;
  }

  reset(): void {
    this.configVector = NO_VECTOR;
    this.takeIsr();
  }

  #signal(vector: number, isr: number): void {
    if (this.#pci.msixEnabled) {
      if (vector !== NO_VECTOR) this.#pci.trigger(vector);
      return;
    }
    this.#isr |= isr;
    this.#pci.setLine(true);
  }
}

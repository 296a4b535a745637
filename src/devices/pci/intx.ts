import type { InterruptLine } from '#hypervisor/irq-chip.ts';
import { assert } from '#util/assert.ts';
import type { PciAddress } from './pci-address.ts';
import type { PciConfiguration } from './pci-configuration.ts';
import { COMMAND, INTERRUPT_PIN, type InterruptPin } from './registers.ts';

/** The GSIs that all functions share, at most. */
export const INTX_GSI_COUNT = 4;

/** Where pin INTA (1) to INTD (4) of a device arrives: as on most boards, the next device's pins are wired one further on. */
export function intxGsi(device: number, pin: InterruptPin, gsis: readonly number[]): number {
  assert(pin !== INTERRUPT_PIN.NONE, 'a pin that there is');
  assert(gsis.length > 0 && gsis.length <= INTX_GSI_COUNT, 'one to four GSIs');
  return gsis[(device + pin - INTERRUPT_PIN.INTA) % gsis.length]!;
}

/** The INTx of a function for `assignIrq`. Every function has INTA, as PCI 3.0 §2.2.6 allows; the device number spreads them. */
export function intxOf(
  address: PciAddress,
  gsis: readonly number[],
): { readonly gsi: number; readonly pin: InterruptPin } {
  const pin = INTERRUPT_PIN.INTA;
  return { gsi: intxGsi(address.device, pin, gsis), pin };
}

/**
 * A function's INTx, level-triggered: PCI 3.0 §2.2.6. It is asserted while the device has something pending and the guest has
 * not disabled it; the status register shows what is pending either way (§6.2.3).
 *
 * The line may be a true level, or one that lets go by itself at each end of interrupt and says so, as an irqfd with a resample
 * descriptor does (IrqfdLine): `resample` is for that.
 */
export class Intx {
  readonly #configuration: PciConfiguration;
  readonly #line: InterruptLine;

  constructor(configuration: PciConfiguration, line: InterruptLine) {
    this.#configuration = configuration;
    this.#line = line;
  }

  /** The device has something pending, or no longer. */
  set(pending: boolean): void {
    this.#configuration.interruptStatus = pending;
    this.update();
  }

  /** To be called after the guest has written the command register, and after a reset. */
  update(): void {
    this.#line.set(this.#isAsserted());
  }

  /** The guest has ended an interrupt of this line, and the line has let go. */
  resample(): void {
    if (this.#isAsserted()) this.#line.set(true);
  }

  #isAsserted(): boolean {
    const { interruptStatus, command } = this.#configuration;
    return interruptStatus && (command & COMMAND.INTX_DISABLE) === 0;
  }
}

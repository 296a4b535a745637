/** One interrupt input of an interrupt controller: a device drives the level, the controller decides what it means. */
export interface InterruptLine {
  /** Drives the line; the same level again has no effect. An edge-triggered input reacts to the rise. */
  set(asserted: boolean): void;
}

/** A message-signalled interrupt as it leaves an I/O APIC or a PCI device: address 0xfeexxxxx and data, SDM vol. 3 §11.11. */
export interface MsiSink {
  send(address: number, data: number): void;
}

/** The chips of a PC's interrupt system that stand on the buses when the VMM, not the kernel, has them. */
export const IRQ_CHIP_PARTS = [
  'pic-master',
  'pic-slave',
  'pic-edge-level-control',
  'pit',
  'system-control',
  'io-apic',
] as const;
export type IrqChipPart = (typeof IRQ_CHIP_PARTS)[number];

/** What a bus asks of such a chip. */
export interface IrqChipDevice {
  readonly name: string;
  read(offset: number, data: Uint8Array): void;
  write(offset: number, data: Uint8Array): void;
}

/**
 * The interrupt controllers and the timer of one machine, as one thread sees them. The addresses of the parts are the
 * machine's business: `arch` puts them on the buses.
 */
export interface IrqChip extends MsiSink {
  /**
   * The input for a global system interrupt. Devices that share an interrupt give each a `source` of their own, 0 to 30: the
   * line is asserted while any of them asserts.
   */
  line(gsi: number, source?: number): InterruptLine;
  /** The parts that belong on the buses: none when the kernel has them all. */
  readonly parts: ReadonlyMap<IrqChipPart, IrqChipDevice>;
}

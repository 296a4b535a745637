/** One interrupt input of an interrupt controller: a device drives the level, the controller decides what it means. */
export interface InterruptLine {
  /** Drives the line; the same level again has no effect. An edge-triggered input reacts to the rise. */
  set(asserted: boolean): void;
}

/** A message-signalled interrupt as it leaves an I/O APIC or a PCI device: address 0xfeexxxxx and data, SDM vol. 3 §11.11. */
export interface MsiSink {
  send(address: number, data: number): void;
}

/**
 * A device on a port or memory bus. `data` holds the 1, 2, 4 or 8 bytes of the access, little endian; it is only valid
 * during the call. What the guest does never throws: an access that the device does not know reads as it would on the
 * hardware (usually all ones or zero) and writes nothing.
 */
export interface BusDevice {
  /** Shown in messages, for example `serial0`. */
  readonly name: string;
  /** Fills `data`. `offset` is relative to 0 or to the device's range, as chosen when it was put on the bus. */
  read(offset: number, data: Uint8Array): void;
  write(offset: number, data: Uint8Array): void;
}

import type { IrqChipDevice } from '../irq-chip.ts';

/** What one access to a chip's ports does. A port is relative to the chip's first. */
export interface BytePort {
  read(port: number): number;
  write(port: number, value: number): void;
}

/** A chip on ports of 8 bits: a wider access is one to each of the ports in turn, as the bus divides it. */
export function bytePorts(name: string, port: BytePort): IrqChipDevice {
  return {
    name,
    read: (offset, data) => {
      for (let i = 0; i < data.length; i++) data[i] = port.read(offset + i);
    },
    write: (offset, data) => {
      for (let i = 0; i < data.length; i++) port.write(offset + i, data[i]!);
    },
  };
}

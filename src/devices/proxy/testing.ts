import type { PciBusDevice } from '../pci/pci-device.ts';

/** Notes what it is asked. Reads of a BAR answer 1, 2, 3 …; registers answer their number with all bits turned. */
export class NotingDevice implements PciBusDevice {
  readonly debugLabel = 'noting';
  readonly asked: string[] = [];

  readConfigRegister(register: number): number {
    this.asked.push(`config ${register}`);
    return ~register;
  }

  writeConfigRegister(register: number, offset: number, data: Uint8Array): void {
    this.asked.push(`config ${register}+${offset} = ${[...data]}`);
  }

  readBar(bar: number, offset: number, data: Uint8Array): void {
    this.asked.push(`bar ${bar}+${offset} ${data.length}`);
    for (let index = 0; index < data.length; index++) data[index] = index + 1;
  }

  writeBar(bar: number, offset: number, data: Uint8Array): void {
    this.asked.push(`bar ${bar}+${offset} = ${[...data]}`);
  }
}

/** What tests of the chips share: a clock that is set by hand, lines and messages that are recorded. */
import type { Clock } from '#util/clock.ts';
import type { InterruptLine, IrqChipDevice } from '../irq-chip.ts';

export class ManualClock implements Clock {
  timeNs = 0;
  wallClockMs = Date.UTC(2020, 0, 31, 23, 59, 58);

  nowNs(): number {
    return this.timeNs;
  }

  wallMs(): number {
    return this.wallClockMs;
  }

  /** Lets time pass on both clocks. */
  pass(ns: number): void {
    this.timeNs += ns;
    this.wallClockMs += ns / 1e6;
  }
}

/** A line whose changes are kept, as 1 and 0. */
export class RecordedLine implements InterruptLine {
  level = false;
  readonly changes: (0 | 1)[] = [];

  set(asserted: boolean): void {
    if (asserted === this.level) return;
    this.level = asserted;
    this.changes.push(asserted ? 1 : 0);
  }

  get rises(): number {
    return this.changes.filter((change) => change === 1).length;
  }
}

type PortDevice = Pick<IrqChipDevice, 'read' | 'write'>;

export function readByte(device: PortDevice, offset: number): number {
  const data = new Uint8Array(1);
  device.read(offset, data);
  return data[0] as number;
}

export function writeByte(device: PortDevice, offset: number, value: number): void {
  device.write(offset, Uint8Array.of(value));
}

export function read32(device: PortDevice, offset: number): number {
  const data = new Uint8Array(4);
  device.read(offset, data);
  return new DataView(data.buffer).getUint32(0, true);
}

export function write32(device: PortDevice, offset: number, value: number): void {
  const data = new Uint8Array(4);
  new DataView(data.buffer).setUint32(0, value >>> 0, true);
  device.write(offset, data);
}

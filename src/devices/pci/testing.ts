/** A PciDevice for tests: a BAR of each kind and MSI-X, with its state over words as a real one has. */
import type { InterruptLine } from '#hypervisor/irq-chip.ts';
import type { SystemAllocator } from '#resources/system-allocator.ts';
import { Intx } from './intx.ts';
import { MsixConfig, type MsixInterrupts, msixCapability } from './msix.ts';
import { allocateBars, type PciBar, type PlacedBar } from './pci-bar.ts';
import { PciConfiguration, type PciConfigurationOptions } from './pci-configuration.ts';
import type { IoEvent, PciDevice, PciFunction } from './pci-device.ts';
import { CAPABILITY, type InterruptPin } from './registers.ts';

export const TEST_BARS: readonly PciBar[] = [
  { index: 0, kind: 'memory64', sizeBytes: 0x4000 },
  { index: 2, kind: 'memory32', sizeBytes: 0x1000, prefetchable: true },
  { index: 3, kind: 'io', sizeBytes: 0x20 },
];
export const TEST_MSIX = {
  vectorCount: 3,
  table: { bar: 0, offset: 0x2000 },
  pending: { bar: 0, offset: 0x3000 },
} as const;
/** BAR 2 and BAR 3 are plain registers: bytes that keep what is written. A write at 0 of BAR 0 sends vector 0, or INTx. */
const SCRATCH_BYTES = 0x1000;
export const TEST_VENDOR_DEVICE = 0x5678_1b36;

const OPTIONS: PciConfigurationOptions = {
  vendorId: TEST_VENDOR_DEVICE & 0xffff,
  deviceId: TEST_VENDOR_DEVICE >>> 16,
  revision: 7,
  class: { base: 0xff, sub: 0, interface: 0 },
  subsystemVendorId: 0x1af4,
  subsystemId: 0x1100,
  bars: TEST_BARS,
  capabilities: [{ id: CAPABILITY.VENDOR, body: Uint8Array.of(3) }, msixCapability(TEST_MSIX)],
};

export class TestPciDevice implements PciDevice {
  static readonly STATE_WORDS = PciConfiguration.EXTENDED_WORDS + MsixConfig.stateWords(TEST_MSIX.vectorCount);

  readonly debugLabel = 'test-device';
  readonly configuration: PciConfiguration;
  readonly msix: MsixConfig;
  readonly ioevents: readonly IoEvent[];
  readonly #intx: Intx;
  readonly #scratch = new Map([2, 3].map((bar) => [bar, new Uint8Array(SCRATCH_BYTES)]));

  constructor(
    words: Uint32Array,
    { line, interrupts, ioevents = [] }: { line: InterruptLine; interrupts: MsixInterrupts; ioevents?: IoEvent[] },
  ) {
    this.configuration = new PciConfiguration(words.subarray(0, PciConfiguration.EXTENDED_WORDS), OPTIONS);
    this.msix = new MsixConfig(words.subarray(PciConfiguration.EXTENDED_WORDS), TEST_MSIX, interrupts);
    this.#intx = new Intx(this.configuration, line);
    this.ioevents = ioevents;
  }

  keepFds(): readonly number[] {
    return [];
  }

  assignIrq(gsi: number, pin: InterruptPin): void {
    this.configuration.setInterrupt(pin, gsi);
  }

  allocateIoBars(allocator: SystemAllocator): readonly PlacedBar[] {
    const placed = allocateBars(TEST_BARS, allocator, this.debugLabel);
    for (const { index, address } of placed) this.configuration.setBarAddress(index, address);
    return placed;
  }

  readConfigRegister(register: number): number {
    return this.configuration.readRegister(register);
  }

  writeConfigRegister(register: number, offset: number, data: Uint8Array): void {
    this.configuration.writeRegister(register, offset, data);
    this.msix.setControl(this.configuration.readRegister(this.msixRegister) >>> 16);
    this.#intx.update();
  }

  get msixRegister(): number {
    return this.configuration.capabilityOffsets[1]! / 4;
  }

  readBar(bar: number, offset: number, data: Uint8Array): void {
    data.fill(0);
    if (this.msix.readBar(bar, offset, data)) return;
    const bytes = this.#scratch.get(bar);
    if (bytes !== undefined) data.set(bytes.subarray(offset, offset + data.length));
  }

  writeBar(bar: number, offset: number, data: Uint8Array): void {
    if (this.msix.writeBar(bar, offset, data)) return;
    this.#scratch.get(bar)?.set(data, offset);
    if (bar !== 0 || offset !== 0) return;
    if (this.msix.enabled) this.msix.trigger(0);
    else this.#intx.set(data[0] !== 0);
  }
}

/** The device where its BARs have been allocated, as `addDevice` takes it. */
export function functionOf(device: TestPciDevice, slot: number, bars: readonly PlacedBar[]): PciFunction {
  return { address: { device: slot, function: 0 }, device, bars, ioevents: device.ioevents };
}

/** Interrupts that are noted as text. */
export function recordedInterrupts(log: string[], vectorsMax = Number.POSITIVE_INFINITY): MsixInterrupts {
  let allocated = 0;
  return {
    allocateVector: (vector) => {
      if (allocated >= vectorsMax) return false;
      allocated++;
      log.push(`allocate ${vector}`);
      return true;
    },
    route: (vector, address, data) => void log.push(`route ${vector} ${address.toString(16)} ${data.toString(16)}`),
    trigger: (vector) => void log.push(`trigger ${vector}`),
  };
}

export function bytesOf(value: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes.slice(0, sizeBytes);
}

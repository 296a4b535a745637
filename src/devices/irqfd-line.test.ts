import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import { IrqfdLine } from './irqfd-line.ts';
import { Intx } from './pci/intx.ts';
import { PciConfiguration } from './pci/pci-configuration.ts';
import { bytesOf } from './pci/testing.ts';

const GSI = 17;
const VECTOR = 0x51;
const LEVEL = 1 << 15;

test('a level signals once, and again after the line has let go', () => {
  let signals = 0;
  const line = new IrqfdLine({ write: () => void signals++ });
  line.set(false);
  line.set(true);
  line.set(true);
  assert.equal(signals, 1);
  line.letGo();
  line.set(true);
  assert.equal(signals, 2);
  line.set(false);
  line.set(true);
  assert.equal(signals, 3);
});

/** Devices at one GSI, each with an eventfd's place taken by a call: main, the chips and the guest in one thread. */
class SharedLine {
  /** Devices that are told of the end; done by `deliver`, as an eventfd is heard later. */
  readonly #waiting: (() => void)[] = [];
  readonly #devices: (() => void)[] = [];
  readonly #chip = new SoftwareIrqChip(new Int32Array(SoftwareIrqChip.stateWords(1)), {
    vcpuCount: 1,
    clock: { nowNs: () => 0, wallMs: () => 0 },
    tscToNs: (_vcpu, ticks) => ticks,
    onEnd: () => void this.#waiting.push(...this.#devices),
  });
  readonly #apic = this.#chip.localApics[0]!;

  constructor() {
    this.#apic.write(0xf0, bytesOf(0x1ff, 4));
    const ioApic = this.#chip.parts.get('io-apic');
    ioApic?.write(0, bytesOf(0x10 + 2 * GSI, 4));
    ioApic?.write(0x10, bytesOf(VECTOR | LEVEL, 4));
  }

  device(): Intx {
    const line = new IrqfdLine({ write: () => this.#chip.assertUntilEnd(GSI) });
    const options = { vendorId: 1, deviceId: 1, class: { base: 0xff, sub: 0, interface: 0 } };
    const intx = new Intx(new PciConfiguration(new Uint32Array(PciConfiguration.WORDS), options), line);
    this.#devices.push(() => {
      line.letGo();
      intx.resample();
    });
    return intx;
  }

  /** The interrupt that the processor takes; -1 is none. */
  acknowledge(): number {
    return this.#apic.acknowledge();
  }

  endOfInterrupt(): void {
    this.#apic.write(0xb0, bytesOf(0, 4));
  }

  deliver(): void {
    for (const resample of this.#waiting.splice(0)) resample();
  }
}

test('two devices at one GSI: the one that was not served interrupts again, and the served one does not', () => {
  const shared = new SharedLine();
  const [one, other] = [shared.device(), shared.device()];
  one.set(true);
  other.set(true);
  assert.equal(shared.acknowledge(), VECTOR);
  one.set(false);
  shared.endOfInterrupt();
  assert.equal(shared.acknowledge(), -1, 'not before the devices have heard of the end');
  shared.deliver();
  assert.equal(shared.acknowledge(), VECTOR);
  other.set(false);
  shared.endOfInterrupt();
  shared.deliver();
  assert.equal(shared.acknowledge(), -1);
});

test('an interrupt that comes between the service and its end is not lost', () => {
  const shared = new SharedLine();
  const device = shared.device();
  device.set(true);
  assert.equal(shared.acknowledge(), VECTOR);
  device.set(false);
  device.set(true);
  shared.endOfInterrupt();
  shared.deliver();
  assert.equal(shared.acknowledge(), VECTOR);
});

test('an interrupt between the end and the hearing of it comes once', () => {
  const shared = new SharedLine();
  const device = shared.device();
  device.set(true);
  assert.equal(shared.acknowledge(), VECTOR);
  device.set(false);
  shared.endOfInterrupt();
  device.set(true);
  shared.deliver();
  assert.equal(shared.acknowledge(), VECTOR);
  device.set(false);
  shared.endOfInterrupt();
  shared.deliver();
  assert.equal(shared.acknowledge(), -1);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import { PENDING } from '#hypervisor/software/local-apic-inbox.ts';
import { Intx, intxGsi, intxOf } from './intx.ts';
import { PciConfiguration } from './pci-configuration.ts';
import { bytesOf } from './testing.ts';

const OPTIONS = { vendorId: 1, deviceId: 1, class: { base: 0xff, sub: 0, interface: 0 } };
const GSIS = [16, 17, 18, 19];

test('neighbouring devices and pins are spread over the GSIs', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5].map((device) => intxOf({ device, function: 0 }, GSIS)),
    [
      { gsi: 17, pin: 1 },
      { gsi: 18, pin: 1 },
      { gsi: 19, pin: 1 },
      { gsi: 16, pin: 1 },
      { gsi: 17, pin: 1 },
    ],
  );
  assert.deepEqual(
    ([1, 2, 3, 4] as const).map((pin) => intxGsi(3, pin, GSIS)),
    [19, 16, 17, 18],
  );
  assert.deepEqual(
    ([1, 2, 3, 4] as const).map((pin) => intxGsi(3, pin, [5])),
    [5, 5, 5, 5],
  );
  assert.throws(() => intxGsi(1, 0, GSIS), { name: 'AssertionError' });
  assert.throws(() => intxGsi(1, 1, [1, 2, 3, 4, 5]), { name: 'AssertionError' });
});

test('a line that lets go at the end of an interrupt is asserted again while something is pending', () => {
  const levels: boolean[] = [];
  const configuration = new PciConfiguration(new Uint32Array(PciConfiguration.WORDS), OPTIONS);
  const intx = new Intx(configuration, { set: (asserted) => void levels.push(asserted) });
  intx.resample();
  intx.set(true);
  intx.resample();
  assert.deepEqual(levels.splice(0), [true, true]);
  configuration.writeRegister(1, 0, bytesOf(0x400, 2));
  intx.resample();
  assert.deepEqual(levels.splice(0), []);
  intx.set(false);
  intx.resample();
  assert.deepEqual(levels, [false]);
});

test('a pending INTx interrupts again after each end of interrupt, until the device lets go', () => {
  const clock = { nowNs: () => 0, wallMs: () => 0 };
  const chip = new SoftwareIrqChip(new Int32Array(SoftwareIrqChip.stateWords(1)), {
    vcpuCount: 1,
    clock,
    tscToNs: (_vcpu, ticks) => ticks,
  });
  const [apic] = chip.localApics;
  const ioApic = chip.parts.get('io-apic');
  assert.ok(apic && ioApic);
  const VECTOR = 0x51;
  const LEVEL = 1 << 15;
  apic.write(0xf0, bytesOf(0x1ff, 4));
  ioApic.write(0, bytesOf(0x10 + 2 * 19, 4));
  ioApic.write(0x10, bytesOf(VECTOR | LEVEL, 4));
  const configuration = new PciConfiguration(new Uint32Array(PciConfiguration.WORDS), OPTIONS);
  const intx = new Intx(configuration, chip.line(19, 3));
  intx.set(true);
  for (let i = 0; i < 3; i++) {
    assert.equal(apic.acknowledge(), VECTOR);
    apic.write(0xb0, bytesOf(0, 4));
  }
  assert.equal(apic.acknowledge(), VECTOR);
  configuration.writeRegister(1, 0, bytesOf(0x400, 2));
  intx.update();
  apic.write(0xb0, bytesOf(0, 4));
  assert.equal(apic.pending() & PENDING.INTERRUPT, 0);
});

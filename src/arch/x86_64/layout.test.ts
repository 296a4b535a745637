import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GiB, MiB } from '#util/bits.ts';
import * as layout from './layout.ts';

test('RAM that fits below the MMIO hole is one range', () => {
  assert.deepEqual(layout.memoryRanges(256 * MiB), [{ start: 0, sizeBytes: 256 * MiB }]);
  assert.deepEqual(layout.memoryRanges(0xd000_0000), [{ start: 0, sizeBytes: 0xd000_0000 }]);
});

test('RAM that does not fit goes on at 4 GiB', () => {
  assert.deepEqual(layout.memoryRanges(5 * GiB), [
    { start: 0, sizeBytes: 0xd000_0000 },
    { start: 4 * GiB, sizeBytes: 5 * GiB - 0xd000_0000 },
  ]);
  assert.deepEqual(layout.memoryRanges(0xd000_1000)[1], { start: 4 * GiB, sizeBytes: 0x1000 });
});

test('memory sizes that the machine cannot have are refused', () => {
  for (const size of [0, -4096, 4096.5, 64 * MiB + 1, 4 * MiB - 4096, 2 ** 45 + 4096, Number.NaN, Infinity]) {
    assert.throws(() => layout.memoryRanges(size), { code: 'BAD_MEMORY_SIZE' });
  }
  layout.memoryRanges(4 * MiB);
  layout.memoryRanges(2 ** 45);
});

test('high MMIO follows RAM at a multiple of 2 MiB and ends with the address space', () => {
  assert.deepEqual(layout.highMmioRange(256 * MiB, 40), { start: 4 * GiB, sizeBytes: 2 ** 40 - 4 * GiB });
  const { start, sizeBytes } = layout.highMmioRange(5 * GiB + 4096, 52);
  assert.equal(start, 0x1_7000_0000 + 2 * MiB);
  assert.equal(start + sizeBytes, 2 ** 46);
  assert.equal(layout.highMmioRange(5 * GiB, 32).sizeBytes, 0);
});

test('the boot areas of the first MiB do not overlap', () => {
  const areas = [
    [layout.GDT_ADDRESS, layout.IDT_ADDRESS],
    [layout.IDT_ADDRESS, layout.IDT_ADDRESS + 8],
    [layout.ZERO_PAGE_ADDRESS, layout.BOOT_STACK_POINTER],
    [layout.PML4_ADDRESS, layout.PDPT_ADDRESS],
    [layout.PDPT_ADDRESS, layout.PAGE_DIRECTORIES_ADDRESS],
    [layout.PAGE_DIRECTORIES_ADDRESS, layout.PAGE_DIRECTORIES_ADDRESS + layout.PAGE_DIRECTORY_COUNT * layout.PAGE_SIZE],
    [layout.COMMAND_LINE_ADDRESS, layout.COMMAND_LINE_ADDRESS + layout.COMMAND_LINE_AREA_SIZE],
    [layout.SETUP_DATA_ADDRESS, layout.SETUP_DATA_END],
    [layout.MP_TABLE_ADDRESS, layout.MP_FLOATING_POINTER_ADDRESS],
    [layout.MP_FLOATING_POINTER_ADDRESS, layout.BASE_MEMORY_END],
    [layout.ACPI_TABLES_ADDRESS, layout.ACPI_TABLES_END],
    [layout.SMBIOS_ADDRESS, layout.SMBIOS_END],
  ] as const;
  const ends = areas.map(([start, end]) => (start < end ? end : Number.NaN));
  assert.ok(areas.slice(1).every(([start], index) => start >= (ends[index] ?? Number.NaN)));
});

test('the MMIO ranges below 4 GiB do not overlap', () => {
  const { PCI_LOW_MMIO, PCI_ECAM } = layout;
  assert.equal(PCI_LOW_MMIO.start, layout.LOW_RAM_END_MAX);
  assert.equal(PCI_LOW_MMIO.start + PCI_LOW_MMIO.sizeBytes, PCI_ECAM.start);
  assert.ok(PCI_ECAM.start + PCI_ECAM.sizeBytes <= layout.IO_APIC_ADDRESS);
  assert.ok(layout.IO_APIC_ADDRESS + layout.PAGE_SIZE <= layout.LOCAL_APIC_ADDRESS);
  assert.ok(layout.LOCAL_APIC_ADDRESS + layout.PAGE_SIZE <= layout.KVM_IDENTITY_MAP_ADDRESS);
  assert.ok(layout.KVM_IDENTITY_MAP_ADDRESS + layout.PAGE_SIZE <= layout.KVM_TSS_ADDRESS);
});

test('the registers of the power management block do not overlap', () => {
  const { PM1_EVENT, PM1_CONTROL, PM_TIMER } = layout.ACPI_PM;
  assert.ok(PM1_EVENT.offset + PM1_EVENT.sizeBytes <= PM1_CONTROL.offset);
  assert.ok(PM1_CONTROL.offset + PM1_CONTROL.sizeBytes <= PM_TIMER.offset);
  assert.equal(PM_TIMER.offset + PM_TIMER.sizeBytes, layout.ACPI_PM_SIZE);
});

test('what devices are given lies in the windows of PCI, and beyond the I/O APIC', () => {
  const highMmio = layout.highMmioRange(256 * MiB, 40);
  const resources = layout.systemResources(highMmio);
  assert.deepEqual(resources.lowMmio, layout.PCI_LOW_MMIO);
  assert.equal(resources.ioPorts.start + resources.ioPorts.sizeBytes, 0x1_0000);
  assert.equal(resources.gsis.first, layout.IO_APIC_PIN_COUNT);
  assert.ok(layout.PCI_INTX_GSIS.every((gsi) => gsi >= layout.ISA_IRQ_COUNT && gsi < layout.IO_APIC_PIN_COUNT));
});

/** Configuration space, BARs and MSI-X of a function under any accesses, by both configuration mechanisms. */
import assert from 'node:assert/strict';
import { MsixConfig, msixCapability } from '#devices/pci/msix.ts';
import type { PlacedBar } from '#devices/pci/pci-bar.ts';
import { PciConfigIo } from '#devices/pci/pci-config-io.ts';
import { PciConfigMmio } from '#devices/pci/pci-config-mmio.ts';
import { PciConfiguration, type PciConfigurationOptions } from '#devices/pci/pci-configuration.ts';
import type { PciBusDevice } from '#devices/pci/pci-device.ts';
import { PciRoot } from '#devices/pci/pci-root.ts';
import type { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

interface Access {
  readonly place: 'config-io' | 'ecam' | 'memory' | 'ports';
  readonly at: number;
  readonly data: readonly number[];
  readonly isWrite: boolean;
}

const ACCESSES_MAX = 100;
const SIZES = [1, 2, 4, 8] as const;
const VECTORS = 70;
/** Vectors for which the machine has no room: every so many. */
const VECTOR_REFUSED_EVERY = 5;
const SLOT = 2;
const ECAM_OFFSET = SLOT << 15;
const BARS: readonly PlacedBar[] = [
  { index: 0, kind: 'memory64', sizeBytes: 0x2000, address: 0x1_0000_0000 },
  { index: 2, kind: 'memory32', sizeBytes: 0x10, address: 0xd000_0000 },
  { index: 5, kind: 'io', sizeBytes: 4, address: 0xc000 },
];
const LAYOUT = { vectorCount: VECTORS, table: { bar: 0, offset: 0x1000 }, pending: { bar: 0, offset: 0x800 } } as const;
const MSIX_OFFSET = 0x40;
const OPTIONS: PciConfigurationOptions = {
  vendorId: 0x1af4,
  deviceId: 0x1041,
  class: { base: 2, sub: 0, interface: 0 },
  bars: BARS,
  capabilities: [msixCapability(LAYOUT)],
};

/** The registers as they are at first, where they are not 0, and what of each the guest may change: told twice on purpose. */
const INITIAL: Readonly<Record<number, number>> = {
  0: 0x1041_1af4,
  1: 0x0010_0000,
  2: 0x0200_0000,
  4: 0x0000_0004,
  5: 0x0000_0001,
  6: 0xd000_0000,
  9: 0x0000_c001,
  13: MSIX_OFFSET,
  16: 0x0045_0011,
  17: 0x1000,
  18: 0x0800,
};
const WRITABLE: Readonly<Record<number, number>> = {
  1: 0x407,
  3: 0xffff,
  4: 0xffff_e000,
  5: 0xffff_ffff,
  6: 0xffff_fff0,
  9: 0xffff_fffc,
  15: 0xff,
  16: 0xc000_0000,
};
const TABLE_END = 0x1000 + VECTORS * 16;
const PENDING_END = 0x800 + 16;

/** Checks what the bus promises a device, and what MSI-X promises its interrupts. */
class CheckedDevice implements PciBusDevice {
  readonly debugLabel = 'fuzzed';
  readonly configuration = new PciConfiguration(new Uint32Array(PciConfiguration.WORDS), OPTIONS);
  /** The BAR that the last access to one has reached. */
  reached: number | undefined;
  readonly #model = Array.from({ length: PciConfiguration.WORDS }, (_, register) => INITIAL[register] ?? 0);
  readonly #allocated = new Set<number>();
  readonly #routed = new Set<number>();
  readonly #msix = new MsixConfig(new Uint32Array(MsixConfig.stateWords(VECTORS)), LAYOUT, {
    allocateVector: (vector) => {
      assert.ok(vector < VECTORS && !this.#allocated.has(vector), `vector ${vector} is allocated once`);
      if (vector % VECTOR_REFUSED_EVERY === 0) return false;
      this.#allocated.add(vector);
      return true;
    },
    route: (vector) => {
      assert.ok(this.#allocated.has(vector), 'what is routed is allocated');
      this.#routed.add(vector);
    },
    trigger: (vector) => assert.ok(this.#routed.has(vector), 'what is sent is routed'),
  });

  constructor() {
    for (const { index, address } of BARS) this.configuration.setBarAddress(index, address);
  }

  readConfigRegister(register: number): number {
    assert.ok(Number.isInteger(register) && register >= 0 && register < 1024, `register ${register}`);
    return this.configuration.readRegister(register);
  }

  writeConfigRegister(register: number, offset: number, data: Uint8Array): void {
    assert.ok(register >= 0 && register < 1024 && offset >= 0 && data.length > 0 && offset + data.length <= 4);
    this.configuration.writeRegister(register, offset, data);
    data.forEach((byte, i) => {
      const shift = 8 * (offset + i);
      const writable = (WRITABLE[register] ?? 0) & (0xff << shift);
      if (register < this.#model.length) {
        this.#model[register] = ((this.#model[register]! & ~writable) | ((byte << shift) & writable)) >>> 0;
      }
    });
    this.#msix.setControl(this.configuration.readRegister(MSIX_OFFSET / 4) >>> 16);
  }

  readBar(bar: number, offset: number, data: Uint8Array): void {
    this.#reach(bar, offset, data);
    const isClaimed = this.#msix.readBar(bar, offset, data);
    assert.equal(isClaimed, isMsix(bar, offset));
    if (!isClaimed) data.fill(0);
  }

  writeBar(bar: number, offset: number, data: Uint8Array): void {
    this.#reach(bar, offset, data);
    const isClaimed = this.#msix.writeBar(bar, offset, data);
    assert.equal(isClaimed, isMsix(bar, offset));
    if (!isClaimed) this.#msix.trigger(data[0]!);
  }

  checkRegisters(): void {
    this.#model.forEach((value, register) => {
      assert.equal(this.configuration.readRegister(register), value, `register ${register}`);
    });
  }

  #reach(bar: number, offset: number, data: Uint8Array): void {
    const sizeBytes = BARS.find(({ index }) => index === bar)?.sizeBytes ?? 0;
    assert.ok(offset >= 0 && data.length > 0 && offset + data.length <= sizeBytes, 'the access lies inside the BAR');
    this.reached = bar;
  }
}

function isMsix(bar: number, offset: number): boolean {
  return bar === 0 && ((offset >= 0x1000 && offset < TABLE_END) || (offset >= 0x800 && offset < PENDING_END));
}

/** What a driver does first, so that more than the configuration is reached: decode both spaces, enable MSI-X. */
const DRIVER_START: readonly Access[] = [
  { place: 'ecam', at: ECAM_OFFSET + 4, data: [7, 0], isWrite: true },
  { place: 'ecam', at: ECAM_OFFSET + MSIX_OFFSET + 2, data: [0, 0x80], isWrite: true },
];

function generate(random: Random): readonly Access[] {
  const accesses = Array.from({ length: random.below(ACCESSES_MAX) }, () => generateAccess(random));
  return random.oneIn(4) ? accesses : [...DRIVER_START, ...accesses];
}

/** An aligned write to the table's first entries or around its end, often one that unmasks or masks. */
function generateTableAccess(random: Random): Access {
  const at = 2 ** 32 + random.pick([0x1000, 0x1000, TABLE_END - 16]) + 4 * random.below(12);
  const data = random.oneIn(2) ? [random.below(2), 0, 0, 0] : [...random.bytes(4)];
  return { place: 'memory', at, data, isWrite: true };
}

function generateAccess(random: Random): Access {
  const place = random.pick(['config-io', 'config-io', 'ecam', 'ecam', 'memory', 'memory', 'ports'] as const);
  const data = [...random.bytes(random.pick(SIZES))];
  const isWrite = !random.oneIn(3);
  switch (place) {
    case 'config-io': {
      const address = [random.below(256), (SLOT << 3) | random.below(2), random.oneIn(9) ? 1 : 0, 0x80];
      if (random.oneIn(2)) return { place, at: 0xcf8, data: address, isWrite: true };
      return { place, at: 0xcf8 + random.below(8), data, isWrite };
    }
    case 'ecam': {
      const base = random.oneIn(8) ? random.below(64 << 20) : ECAM_OFFSET;
      const at = base + random.below(random.pick([0x40, 0x50, 0x1000]));
      const extreme = data.map(() => random.pick([0, 0xff]));
      return { place, at, data: random.oneIn(3) ? extreme : data, isWrite };
    }
    case 'memory': {
      if (random.oneIn(2)) return generateTableAccess(random);
      const base = random.pick([0xd000_0000, 2 ** 32, 2 ** 32 + 0x800, 2 ** 32 + 0x1000, Number(random.boundary(32))]);
      return { place, at: base + random.below(random.pick([0x20, 0x500])), data, isWrite };
    }
    default:
      return { place, at: 0xbff8 + random.below(16), data, isWrite };
  }
}

function check(accesses: readonly Access[]): void {
  const state = new Int32Array(PciRoot.STATE_WORDS + PciConfigIo.STATE_WORDS);
  const root = new PciRoot(state);
  const device = new CheckedDevice();
  root.addDevice({ address: { device: SLOT, function: 0 }, device, bars: BARS, ioevents: [] });
  const places = {
    'config-io': new PciConfigIo(state.subarray(PciRoot.STATE_WORDS), root),
    ecam: new PciConfigMmio(root),
    memory: root.memory,
    ports: root.ioPorts,
  };
  for (const { place, at, data, isWrite } of accesses) {
    const bytes = Uint8Array.from(data);
    if (isWrite) places[place].write(at, bytes);
    else places[place].read(at, bytes);
    checkDecoding(root, device);
    device.checkRegisters();
  }
}

/** The bus, which follows the guest's writes by itself, finds each BAR where the function's own registers say that it is. */
function checkDecoding(root: PciRoot, device: CheckedDevice): void {
  const { command } = device.configuration;
  for (const bar of BARS) {
    const isEnabled = (command & (bar.kind === 'io' ? 1 : 2)) !== 0;
    const address = device.configuration.barAddress(bar.index);
    if (!Number.isSafeInteger(address + bar.sizeBytes)) continue;
    device.reached = undefined;
    (bar.kind === 'io' ? root.ioPorts : root.memory).read(address, new Uint8Array(1));
    assert.equal(device.reached !== undefined, isEnabled, `BAR ${bar.index} answers at 0x${address.toString(16)}`);
  }
}

export const target = inputTarget<readonly Access[]>({
  name: 'pci',
  generate,
  check,
  show: (accesses) => JSON.stringify(accesses),
  *shrink(accesses) {
    for (let i = 0; i < accesses.length; i++) yield accesses.toSpliced(i, 1);
  },
});

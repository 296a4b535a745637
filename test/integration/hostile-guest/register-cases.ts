/** Registers, MSI-X and configuration space, VIRTIO 1.1 §4.1 and PCI 3.0. */
import { PciConfigIo } from '#devices/pci/pci-config-io.ts';
import { PciConfigMmio } from '#devices/pci/pci-config-mmio.ts';
import { CAPABILITY, REGISTER } from '#devices/pci/registers.ts';
import { Feature, NO_VECTOR, Status } from '#devices/virtio/constants.ts';
import { BAR } from '#devices/virtio/transport/common-config.ts';
import { VIRTIO_BAR } from '#devices/virtio/virtio-pci-device.ts';
import { assert } from '#util/assert.ts';
import { ALL_FEATURES, type Attack } from './attack.ts';
import type { HostileCase } from './case.ts';

const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, NEEDS_RESET } = Status;
const WIDTHS = [1, 2, 4, 8] as const;
const MSIX = { TABLE: 0x6000, PENDING: 0x7000, ENABLE: 0x8000, MASK_ALL: 0x4000 } as const;
const CONFIGURATION_REGISTERS = 1024;
/** Places around which every offset is accessed; between them a few. */
const EDGES = [0, BAR.ISR.offset, BAR.DEVICE.offset, BAR.NOTIFY.offset, 0x4000, MSIX.TABLE, MSIX.PENDING, 0x8000];
const NEAR_BYTES = 0x48;
const STRIDE = 0x1f3;

function offsetsOfBar(): number[] {
  const offsets = new Set<number>();
  for (const edge of EDGES) for (let at = edge - NEAR_BYTES; at < edge + NEAR_BYTES; at++) offsets.add(at);
  for (let at = 0; at < VIRTIO_BAR.sizeBytes; at += STRIDE) offsets.add(at);
  return [...offsets].filter((at) => at >= 0 && at < VIRTIO_BAR.sizeBytes);
}

const OFFSETS = offsetsOfBar();

/** The place of the function's MSI-X capability. */
function msixOf(attack: Attack): number {
  let at = attack.readConfig(0x34, 1);
  while (at !== 0 && attack.readConfig(at, 1) !== CAPABILITY.MSIX) at = attack.readConfig(at + 1, 1);
  assert(at !== 0, 'the function has MSI-X');
  return at;
}

const setMsix = (attack: Attack, control: number): void => attack.writeConfig(msixOf(attack) + 2, 2, control);

/** What the device is after its registers were misused: as it should be, it answers. */
const afterwards = (attack: Attack): string => {
  attack.placeBar();
  attack.start();
  return attack.works() ? 'ignored' : 'broken';
};

/** Status bits that a driver writes in a wrong order, and what stands then. */
const status = (name: string, ...written: readonly number[]): HostileCase => ({
  name,
  run: (attack) => {
    attack.driver.reset();
    for (const value of written) attack.driver.set('deviceStatus', value);
    return `status ${attack.status}`;
  },
});

const STATES: readonly HostileCase[] = [
  status('DRIVER_OK alone', DRIVER_OK),
  status('FEATURES_OK without DRIVER', ACKNOWLEDGE | FEATURES_OK),
  status('all bits at once', 0xff),
  status('DRIVER_OK without features', ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK),
  status('NEEDS_RESET by the driver', NEEDS_RESET),
  {
    name: 'DRIVER_OK twice',
    run: (attack) => {
      attack.start();
      attack.driver.set('deviceStatus', 0xf);
      attack.driver.set('deviceStatus', DRIVER_OK);
      return attack.works() ? 'ignored' : 'broken';
    },
  },
  {
    name: 'features that are not offered',
    run: (attack) => {
      attack.driver.reset();
      attack.driver.negotiate(2n ** 64n - 1n);
      return `status ${attack.status}`;
    },
  },
  {
    name: 'features changed after FEATURES_OK',
    run: (attack) => {
      attack.driver.reset();
      attack.driver.negotiate(ALL_FEATURES);
      attack.driver.set('driverFeatureSelect', 0);
      attack.driver.set('driverFeature', 0xffff_ffff);
      const stands = BigInt(attack.driver.get('driverFeature')) === (ALL_FEATURES & 0xffff_ffffn);
      return stands && (ALL_FEATURES & Feature.RING_INDIRECT_DESC) !== 0n ? 'ignored' : 'taken';
    },
  },
  {
    name: 'DRIVER_OK with no queue, then queues',
    run: (attack) => {
      attack.driver.reset();
      attack.makeQueues();
      attack.driver.start(ALL_FEATURES);
      attack.driver.enableQueue(attack.target.queue, attack.queue.config());
      const isEnabled = attack.driver.get('queueEnable') === 1;
      attack.queue.add(...attack.target.request());
      return isEnabled ? 'enabled' : attack.outcome();
    },
  },
  {
    name: 'kicks before DRIVER_OK and of queues that are not there',
    run: (attack) => {
      attack.driver.reset();
      attack.makeQueues();
      for (let queue = 0; queue < 1024; queue++) attack.kick(queue);
      attack.settle();
      return afterwards(attack);
    },
  },
  {
    name: 'started and reset again and again',
    run: (attack) => {
      for (let life = 0; life < 50; life++) attack.start();
      return afterwards(attack);
    },
  },
];

const ACCESSES: readonly HostileCase[] = [
  {
    name: 'reads of 1, 2, 4 and 8 bytes everywhere in the BAR',
    run: (attack) => {
      attack.start();
      for (const offset of OFFSETS) for (const width of WIDTHS) attack.driver.read(offset, width);
      return attack.works() ? 'answered' : 'broken';
    },
  },
  {
    name: 'ones of 1, 2, 4 and 8 bytes everywhere in the BAR',
    run: (attack) => {
      attack.start();
      for (const offset of OFFSETS) for (const width of WIDTHS) attack.driver.write(offset, width, 2n ** 64n - 1n);
      setMsix(attack, 0);
      return afterwards(attack);
    },
  },
  {
    name: 'zeros of 1, 2, 4 and 8 bytes everywhere in the BAR',
    run: (attack) => {
      attack.start();
      for (const offset of OFFSETS) for (const width of WIDTHS) attack.driver.write(offset, width, 0);
      return afterwards(attack);
    },
  },
  {
    name: 'a vector that is not there',
    run: (attack) => {
      attack.driver.reset();
      attack.driver.set('msixConfig', 0x7ff);
      attack.driver.set('queueSelect', 0);
      attack.driver.set('queueMsixVector', 0xfffe);
      const refused =
        attack.driver.get('msixConfig') === NO_VECTOR && attack.driver.get('queueMsixVector') === NO_VECTOR;
      return refused ? 'NO_VECTOR' : 'taken';
    },
  },
  {
    name: 'MSI-X messages to nowhere, of ones and without end',
    run: (attack) => {
      attack.start();
      setMsix(attack, MSIX.ENABLE);
      for (let round = 0; round < 50; round++) {
        for (let at = 0; at < 0x80; at += 4) attack.driver.write(MSIX.TABLE + at, 4, at % 16 === 12 ? 0 : ~round >>> 0);
        for (let at = 0; at < 0x80; at += 8)
          attack.driver.write(MSIX.TABLE + at, 8, at % 16 === 8 ? 0 : 2n ** 64n - 1n);
        attack.queue.add(...attack.target.request());
        attack.kick();
        for (let at = 12; at < 0x80; at += 16) attack.driver.write(MSIX.TABLE + at, 4, 1);
        setMsix(attack, MSIX.ENABLE | MSIX.MASK_ALL);
        setMsix(attack, MSIX.ENABLE);
      }
      attack.settle();
      setMsix(attack, 0);
      return afterwards(attack);
    },
  },
  {
    name: 'pending bits and what lies behind table and pending bits are written',
    run: (attack) => {
      attack.start();
      setMsix(attack, MSIX.ENABLE);
      // A vector that another case has left masked may have something to say.
      const before = attack.driver.read(MSIX.PENDING, 8);
      for (let at = MSIX.TABLE; at < VIRTIO_BAR.sizeBytes; at += 64) attack.driver.write(at, 8, 2n ** 64n - 1n);
      const pending = attack.driver.read(MSIX.PENDING, 8);
      setMsix(attack, 0);
      assert(pending === before, 'pending bits are read-only');
      return afterwards(attack);
    },
  },
];

/** The buses of the machine's own part, which the devices' processes do not see. */
const CONFIGURATION: readonly HostileCase[] = [
  {
    name: 'ones in every register of configuration space',
    run: (attack) => {
      for (let register = 0; register < CONFIGURATION_REGISTERS; register++)
        attack.writeConfig(register * 4, 4, 0xffff_ffff);
      for (let register = 0; register < CONFIGURATION_REGISTERS; register++) attack.readConfig(register * 4, 4);
      setMsix(attack, 0);
      return afterwards(attack);
    },
  },
  {
    name: 'accesses across registers and the end of configuration space',
    run: (attack) => {
      for (const width of WIDTHS)
        for (let at = 0xf0; at < 0x110; at++) {
          attack.writeConfig(at, width, 0);
          attack.readConfig(0xff0 + (at & 0xf), width);
        }
      return afterwards(attack);
    },
  },
  {
    name: "the BAR over another device's",
    run: (attack) => {
      const { attacks } = attack.guest;
      const other = attacks[(attacks.indexOf(attack) + 1) % attacks.length] as Attack;
      attack.writeConfig(REGISTER.BAR0 * 4, 4, other.barAddress % 2 ** 32);
      attack.writeConfig(REGISTER.BAR0 * 4 + 4, 4, Math.floor(other.barAddress / 2 ** 32));
      const numbers = new Set(Array.from({ length: 4 }, () => other.driver.get('numQueues')));
      attack.placeBar();
      assert(numbers.size === 1, 'one of the two answers, always the same');
      other.start();
      return other.works() ? afterwards(attack) : 'the other is broken';
    },
  },
  {
    name: 'the BAR over RAM, at the end of the address space, and off',
    run: (attack) => {
      for (const [low, high] of [
        [0, 0],
        [0xffff_8000, 0xffff_ffff],
        [0xffff_8000, 0x001f_ffff],
      ] as const) {
        attack.writeConfig(REGISTER.BAR0 * 4, 4, low);
        attack.writeConfig(REGISTER.BAR0 * 4 + 4, 4, high);
        attack.guest.root.memory.read(low, new Uint8Array(8));
      }
      attack.placeBar();
      attack.writeConfig(REGISTER.COMMAND_STATUS * 4, 2, 0);
      const isOff = attack.driver.get('numQueues') === 0xffff;
      return isOff ? afterwards(attack) : 'decoded';
    },
  },
  {
    name: 'the window into the BAR, of any size and place',
    run: (attack) => {
      let at = attack.readConfig(0x34, 1);
      while (attack.readConfig(at, 1) !== CAPABILITY.VENDOR || attack.readConfig(at + 3, 1) !== 5)
        at = attack.readConfig(at + 1, 1);
      for (const bar of [0, 1, 0xff])
        for (const size of [0, 1, 2, 3, 4, 8, 0xffff_ffff])
          for (const offset of [0, 1, 0x14, 0x3000, 0x6000, 0x7ffc, 0x7fff, 0x8000, 0xffff_fffc]) {
            attack.writeConfig(at + 4, 1, bar);
            attack.writeConfig(at + 8, 4, offset);
            attack.writeConfig(at + 12, 4, size);
            attack.writeConfig(at + 16, 4, 0xffff_ffff);
            attack.readConfig(at + 16, 4);
          }
      return afterwards(attack);
    },
  },
  {
    name: 'configuration space beyond the bus and at odd widths',
    run: (attack) => {
      const { root } = attack.guest;
      const ecam = new PciConfigMmio(root);
      const ports = new PciConfigIo(new Int32Array(1), root);
      const data = new Uint8Array(8).fill(0xff);
      const own = attack.functionNumber * 0x1000;
      for (const width of WIDTHS) {
        const part = data.subarray(0, width);
        for (const offset of [own + 0xffd, own + 0xfff, 0x10_0000, 0x0fff_ffff, 0xffff_ffff]) {
          ecam.read(offset, part);
          ecam.write(offset, part.fill(0xff));
        }
        for (let port = 0xcf8; port < 0xd00; port++) {
          ports.write(0xcf8, Uint8Array.of(0xfc, attack.functionNumber, 0, 0x80));
          ports.write(port, part.fill(0xff));
          ports.read(port, part);
        }
      }
      return afterwards(attack);
    },
  },
];

export const REGISTER_CASES: readonly HostileCase[] = [...STATES, ...ACCESSES, ...CONFIGURATION];

/** A PCI bus whose state threads share, with a device that notices when two of them are in it at once. */
import type { PciBusDevice } from '#devices/pci/pci-device.ts';
import { PciRoot } from '#devices/pci/pci-root.ts';

export const FUNCTION_NUMBER = 8;
export const BAR_ADDRESS = 0xd000_0000;
export const BAR_BYTES = 0x1000;

/** Words of the device. */
export const WORD = { INSIDE: 0, ACCESSES: 1, COLLISIONS: 2, COUNT: 3 } as const;

export interface SharedBus {
  readonly root: Int32Array;
  readonly device: Int32Array;
}

export function createShared(): SharedBus {
  const words = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(count * 4));
  return { root: words(PciRoot.STATE_WORDS), device: words(WORD.COUNT) };
}

/** Counts without atomic operations, as a device does that relies on the bus's lock. */
function countingDevice(words: Int32Array): PciBusDevice {
  const access = (): void => {
    if (Atomics.add(words, WORD.INSIDE, 1) !== 0) Atomics.add(words, WORD.COLLISIONS, 1);
    const before = words[WORD.ACCESSES] ?? 0;
    for (let i = 0; i < 20; i++) Atomics.load(words, WORD.INSIDE);
    words[WORD.ACCESSES] = before + 1;
    Atomics.sub(words, WORD.INSIDE, 1);
  };
  return {
    debugLabel: 'counting',
    readConfigRegister: () => {
      access();
      return 0;
    },
    writeConfigRegister: access,
    readBar: (_bar, _offset, data) => {
      access();
      data.fill(0);
    },
    writeBar: access,
  };
}

/** This thread's view. */
export function createRoot({ root: state, device: words }: SharedBus): PciRoot {
  const root = new PciRoot(state);
  const bar = { index: 0, kind: 'memory32', sizeBytes: BAR_BYTES, address: BAR_ADDRESS } as const;
  const address = { device: 1, function: 0 };
  root.addDevice({ address, device: countingDevice(words), bars: [bar], ioevents: [] });
  return root;
}

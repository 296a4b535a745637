import type { IoeventWatcher } from '#hypervisor/ioevent-watcher.ts';
import { assert } from '#util/assert.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import { carver } from '#util/state-words.ts';
import type { BusDevice } from '../bus-device.ts';
import { BarDecoder, type DecodedBar, type PciSpace } from './bar-decoder.ts';
import { HostBridge } from './host-bridge.ts';
import { IoeventPlacer } from './ioevent-placer.ts';
import { FUNCTIONS_PER_BUS, functionNumber, pciAddressText } from './pci-address.ts';
import type { IoEvent, PciBusDevice, PciFunction } from './pci-device.ts';
import { BAR_COUNT, EXTENDED_CONFIGURATION_BYTES, NOBODY, REGISTER } from './registers.ts';

const NOBODY_BYTE = NOBODY & 0xff;

interface Slot {
  readonly device: PciBusDevice;
  readonly lock: SharedMutex;
  readonly ioevents: readonly IoEvent[];
}

export interface PciRootOptions {
  /** Told of accesses to memory and ports that no BAR has. */
  readonly unclaimed?: UnclaimedAccess | undefined;
  /** Where the hypervisor signals the functions' ioevents by itself. */
  readonly ioeventWatcher?: IoeventWatcher | undefined;
}

export type UnclaimedAccess = (access: 'read' | 'write', space: PciSpace, address: number, data: Uint8Array) => void;

/**
 * Bus 0 and its functions, as one thread sees them: every thread makes its own over the same state, with its own objects for
 * the same devices. Whatever the bus asks of a device is asked with that function's lock held, so that a device which is behind
 * a socket has one question at a time. What no function answers reads as all ones and is lost when written.
 */
export class PciRoot {
  static readonly STATE_WORDS =
    FUNCTIONS_PER_BUS + BarDecoder.STATE_WORDS + HostBridge.STATE_WORDS + IoeventPlacer.STATE_WORDS;

  /** Memory and ports of the BARs. On the buses with absolute addresses. */
  readonly memory: BusDevice = this.#spaceDevice('pci-memory', 'memory');
  readonly ioPorts: BusDevice = this.#spaceDevice('pci-io', 'io');
  readonly #locks: Int32Array;
  readonly #decoder: BarDecoder;
  readonly #slots: (Slot | undefined)[] = new Array<Slot | undefined>(FUNCTIONS_PER_BUS).fill(undefined);

  readonly #unclaimed: UnclaimedAccess | undefined;
  readonly #ioevents: IoeventPlacer | undefined;

  /** `state` holds STATE_WORDS words, zeroed when the machine is new. The host bridge is at 00:00.0. */
  constructor(state: Int32Array, { unclaimed, ioeventWatcher }: PciRootOptions = {}) {
    this.#unclaimed = unclaimed;
    assert(state.length >= PciRoot.STATE_WORDS, 'the state is too small');
    const carve = carver(state);
    this.#locks = carve(FUNCTIONS_PER_BUS);
    this.#decoder = new BarDecoder(carve(BarDecoder.STATE_WORDS));
    const { buffer, byteOffset, length } = carve(HostBridge.STATE_WORDS);
    const placerState = carve(IoeventPlacer.STATE_WORDS);
    if (ioeventWatcher !== undefined) this.#ioevents = new IoeventPlacer(placerState, ioeventWatcher);
    const address = { device: 0, function: 0 };
    const lock = new SharedMutex(this.#locks, functionNumber(address));
    const device = lock.run(() => new HostBridge(new Uint32Array(buffer, byteOffset, length)));
    this.addDevice({ address, device, bars: [], ioevents: [] });
  }

  /** Puts a function on the bus. Function 0 of a device comes first: without it nobody looks for others. */
  addDevice({ address, device, bars, ioevents }: PciFunction): void {
    const number = functionNumber(address);
    const text = pciAddressText(address);
    assert(this.#slots[number] === undefined, `${text} is taken`);
    assert(address.function === 0 || this.#slots[number - address.function] !== undefined, `${text} has no function 0`);
    const lock = new SharedMutex(this.#locks, number);
    this.#slots[number] = { device, lock, ioevents };
    lock.run(() => this.#decoder.add(number, bars));
  }

  /** Fills `data` from byte `offset` of a function's configuration space on. */
  readConfig(number: number, offset: number, data: Uint8Array): void {
    data.fill(NOBODY_BYTE);
    const slot = this.#slots[number];
    if (slot === undefined) return;
    slot.lock.lock();
    try {
      for (const { register, from, to } of registersOf(offset, data.length)) {
        const value = slot.device.readConfigRegister(register);
        for (let at = from; at < to; at++) data[at - offset] = value >>> (8 * (at & 3));
      }
    } finally {
      slot.lock.unlock();
    }
  }

  writeConfig(number: number, offset: number, data: Uint8Array): void {
    const slot = this.#slots[number];
    if (slot === undefined) return;
    slot.lock.lock();
    try {
      for (const { register, from, to } of registersOf(offset, data.length)) {
        const bytes = data.subarray(from - offset, to - offset);
        slot.device.writeConfigRegister(register, from & 3, bytes);
        this.#decoder.configWritten(number, register, from & 3, bytes);
        if (isPlacement(register)) this.#ioevents?.update(number, slot.ioevents, this.#decoder);
      }
    } finally {
      slot.lock.unlock();
    }
  }

  /** Stops the work of all functions, or has it go on. */
  suspend(): void {
    for (const slot of this.#slots) slot?.lock.run(() => slot.device.suspend?.());
  }

  resume(): void {
    for (const slot of this.#slots) slot?.lock.run(() => slot.device.resume?.());
  }

  #spaceDevice(name: string, space: PciSpace): BusDevice {
    return {
      name,
      read: (address, data) => this.#readBar(space, address, data),
      write: (address, data) => this.#writeBar(space, address, data),
    };
  }

  #readBar(space: PciSpace, address: number, data: Uint8Array): void {
    const hit = this.#decoder.find(space, address);
    if (hit === undefined) {
      data.fill(NOBODY_BYTE);
      this.#unclaimed?.('read', space, address, data);
      return;
    }
    const inside = insideBar(hit, address, data);
    if (inside !== data) data.fill(NOBODY_BYTE, inside.length);
    const { device, lock } = this.#slots[hit.functionNumber]!;
    lock.lock();
    try {
      device.readBar(hit.bar.index, address - hit.start, inside);
    } finally {
      lock.unlock();
    }
  }

  #writeBar(space: PciSpace, address: number, data: Uint8Array): void {
    const hit = this.#decoder.find(space, address);
    if (hit === undefined) {
      this.#unclaimed?.('write', space, address, data);
      return;
    }
    const { device, lock, ioevents } = this.#slots[hit.functionNumber]!;
    const offset = address - hit.start;
    for (let i = 0; i < ioevents.length; i++) {
      const ioevent = ioevents[i]!;
      if (ioevent.offset !== offset || ioevent.bar !== hit.bar.index) continue;
      ioevent.event.write();
      return;
    }
    lock.lock();
    try {
      device.writeBar(hit.bar.index, offset, insideBar(hit, address, data));
    } finally {
      lock.unlock();
    }
  }
}

/** Whether what is written to a register can move BARs. */
const isPlacement = (register: number): boolean =>
  register === REGISTER.COMMAND_STATUS || (register >= REGISTER.BAR0 && register < REGISTER.BAR0 + BAR_COUNT);

/** The part of an access that the BAR answers: its first byte does, its last may lie beyond the end. */
function insideBar({ end }: DecodedBar, address: number, data: Uint8Array): Uint8Array {
  return address + data.length <= end ? data : data.subarray(0, end - address);
}

/** The registers that an access touches, each with the bytes of it; nothing beyond the end of the space. */
function registersOf(offset: number, sizeBytes: number): { register: number; from: number; to: number }[] {
  const end = Math.min(offset + sizeBytes, EXTENDED_CONFIGURATION_BYTES);
  const parts = [];
  for (let from = offset; from < end; ) {
    const to = Math.min(end, (from & ~3) + 4);
    parts.push({ register: from >>> 2, from, to });
    from = to;
  }
  return parts;
}

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import type { PciBusDevice } from '../pci/pci-device.ts';
import { PciRoot } from '../pci/pci-root.ts';
import { COMMAND, REGISTER } from '../pci/registers.ts';
import { SharedIoevents, sharedIoeventsOf } from './shared-ioevents.ts';

const ADDRESS = 0xd000_0000;
const SLOT = 1;

/** A bus with one device that has such ioevents, and what reached the device. */
function create(events: SharedIoevents) {
  const written: number[] = [];
  const device: PciBusDevice = {
    debugLabel: 'test',
    readConfigRegister: () => 0,
    writeConfigRegister: () => {},
    readBar: () => {},
    writeBar: (_bar, offset) => void written.push(offset),
  };
  const root = new PciRoot(new Int32Array(PciRoot.STATE_WORDS));
  const bars = [{ index: 0, kind: 'memory32', sizeBytes: 0x1000, address: ADDRESS } as const];
  const ioevents = sharedIoeventsOf(events.describe());
  root.addDevice({ address: { device: SLOT, function: 0 }, device, bars, ioevents });
  root.writeConfig(SLOT * 8, REGISTER.COMMAND_STATUS * 4, Uint8Array.of(COMMAND.MEMORY_SPACE));
  const write = (offset: number): void => root.memory.write(ADDRESS + offset, new Uint8Array(4));
  return { write, written };
}

describe('shared ioevents', () => {
  test('signal in place of the device while they have a place', () => {
    using events = new SharedIoevents(2);
    const { write, written } = create(events);
    write(0);
    assert.deepEqual(written, [0], 'without a place there is none');
    using first = EventFd.fromFd(events.set(0, { bar: 0, offset: 0 }));
    using second = EventFd.fromFd(events.set(1, { bar: 0, offset: 0xffc }));
    write(0);
    write(0xffc);
    write(0xffc);
    write(4);
    assert.deepEqual([first.read(), second.read(), written], [1n, 2n, [0, 4]]);
    events.clear(0);
    write(0);
    assert.deepEqual([first.read(), written], [undefined, [0, 4, 0]]);
  });

  test('of another BAR leave the device its writes', () => {
    using events = new SharedIoevents(1);
    const { write, written } = create(events);
    using event = EventFd.fromFd(events.set(0, { bar: 1, offset: 8 }));
    write(8);
    assert.deepEqual([event.read(), written], [undefined, [8]]);
  });

  test('take offsets of 32 bits', () => {
    using events = new SharedIoevents(1);
    events.set(0, { bar: 5, offset: 0xffff_fffc }).close();
    const [ioevent] = sharedIoeventsOf(events.describe());
    assert.deepEqual([ioevent?.bar, ioevent?.offset], [5, 0xffff_fffc]);
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PciFunction } from './pci-device.ts';
import { PciRoot } from './pci-root.ts';
import { COMMAND, REGISTER } from './registers.ts';

const NUMBER = 8;
const OTHER_NUMBER = 16;

/** A function with a BAR, of a given number of its slot. */
function functionAt(slot: number, bar: PciFunction['bars'][number]): PciFunction {
  const event = (fd: number) => ({ fd, write: () => {} });
  return {
    address: { device: slot, function: 0 },
    device: {
      debugLabel: 'test',
      readConfigRegister: () => 0,
      writeConfigRegister: () => {},
      readBar: () => {},
      writeBar: () => {},
    },
    bars: [bar],
    ioevents: [
      { bar: 0, offset: 0x10, event: event(5) },
      { bar: 0, offset: 0x14, event: event(6) },
      { bar: 0, offset: 0x18, event: event(7), comesAndGoes: true },
    ],
  };
}

/** Two threads' buses over the same state, and what their hypervisor was told. */
function create() {
  const state = new Int32Array(PciRoot.STATE_WORDS);
  const told: string[] = [];
  const tell =
    (verb: string) =>
    (place: { space: string; address: number }, { fd }: { fd: number }) => {
      told.push(`${verb} ${place.space} ${place.address.toString(16)} ${fd}`);
      return true;
    };
  const ioeventWatcher = { watch: tell('watch'), unwatch: tell('unwatch') };
  const roots = [0, 1].map(() => {
    const root = new PciRoot(state, { ioeventWatcher });
    root.addDevice(functionAt(1, { index: 0, kind: 'memory32', sizeBytes: 0x1000, address: 0xd000_0000 }));
    root.addDevice(functionAt(2, { index: 0, kind: 'io', sizeBytes: 0x100, address: 0xc000 }));
    return root;
  });
  const [first, second] = roots as [PciRoot, PciRoot];
  return { first, second, told, takeTold: () => told.splice(0) };
}

const command = (bits: number): Uint8Array => Uint8Array.of(bits, 0);

test('the hypervisor watches the ioevents of a BAR while it is decoded, whichever thread the guest writes in', () => {
  const { first, second, takeTold } = create();
  first.writeConfig(NUMBER, 4 * REGISTER.COMMAND_STATUS, command(COMMAND.MEMORY_SPACE));
  assert.deepEqual(takeTold(), ['watch memory d0000010 5', 'watch memory d0000014 6']);
  second.writeConfig(NUMBER, 4 * REGISTER.COMMAND_STATUS, command(COMMAND.MEMORY_SPACE));
  assert.deepEqual(takeTold(), [], 'nothing has changed');
  second.writeConfig(NUMBER, 4 * REGISTER.COMMAND_STATUS, command(0));
  assert.deepEqual(takeTold(), ['unwatch memory d0000010 5', 'unwatch memory d0000014 6']);
});

test('the places follow a BAR that is moved while it is decoded', () => {
  const { first, takeTold } = create();
  first.writeConfig(NUMBER, 4 * REGISTER.COMMAND_STATUS, command(COMMAND.MEMORY_SPACE));
  takeTold();
  first.writeConfig(NUMBER, 4 * REGISTER.BAR0, Uint8Array.of(0, 0, 0, 0xe0));
  assert.deepEqual(takeTold(), [
    'unwatch memory d0000010 5',
    'watch memory e0000010 5',
    'unwatch memory d0000014 6',
    'watch memory e0000014 6',
  ]);
});

test('ioevents of ports are watched among the ports, and writes elsewhere change nothing', () => {
  const { first, takeTold } = create();
  first.writeConfig(OTHER_NUMBER, 4 * REGISTER.COMMAND_STATUS, command(COMMAND.IO_SPACE));
  assert.deepEqual(takeTold(), ['watch io c010 5', 'watch io c014 6']);
  first.writeConfig(OTHER_NUMBER, 0x3c, Uint8Array.of(1));
  assert.deepEqual(takeTold(), []);
});

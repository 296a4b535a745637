import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ControlRx, HEADER_BYTES, NetFeature } from './constants.ts';
import { ReceiveFilter } from './receive-filter.ts';

const { CTRL_RX, CTRL_VLAN } = NetFeature;
const MAC = [0x52, 0x54, 0, 1, 2, 3];
const OTHER = [0x52, 0x54, 0, 1, 2, 4];
const GROUP = [0x01, 0, 0x5e, 0, 0, 1];
const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

const packetFor = (mac: readonly number[], ...behindSource: number[]): Uint8Array =>
  Uint8Array.from([
    ...new Uint8Array(HEADER_BYTES),
    ...mac,
    ...MAC,
    ...(behindSource.length > 0 ? behindSource : [8, 0]),
  ]);
const packetOfVlan = (tag: number): Uint8Array => packetFor(MAC, 0x81, 0, tag >> 8, tag & 0xff, 8, 0);

/** Of the packets for this device, another, a group and all: those that it takes. */
function taken(filter: ReceiveFilter): string {
  const packets = { own: MAC, other: OTHER, group: GROUP, broadcast: BROADCAST };
  return Object.entries(packets)
    .filter(([, mac]) => filter.accepts(packetFor(mac)))
    .map(([name]) => name)
    .join();
}

describe('the filter of received frames', () => {
  test('without CTRL_RX takes everything', () => {
    assert.equal(taken(new ReceiveFilter(0n, Uint8Array.from(MAC))), 'own,other,group,broadcast');
  });

  for (const [modes, expected] of [
    [[], 'own,broadcast'],
    [['PROMISC'], 'own,other,group,broadcast'],
    [['PROMISC', 'NOUNI', 'NOMULTI', 'NOBCAST'], 'own,other,group,broadcast'],
    [['ALLMULTI'], 'own,group,broadcast'],
    [['ALLUNI'], 'own,other,broadcast'],
    [['NOBCAST'], 'own'],
    [['NOUNI', 'ALLUNI'], 'broadcast'],
    [['NOMULTI', 'ALLMULTI'], 'own,broadcast'],
  ] as const) {
    test(`with ${modes.join(' and ') || 'no mode'} takes ${expected}`, () => {
      const filter = new ReceiveFilter(CTRL_RX, Uint8Array.from(MAC));
      for (const mode of modes) filter.setMode(ControlRx[mode], true);
      assert.equal(taken(filter), expected);
      for (const mode of modes) filter.setMode(ControlRx[mode], false);
      assert.equal(taken(filter), 'own,broadcast');
    });
  }

  test('takes every VLAN without CTRL_VLAN', () => {
    assert.ok(new ReceiveFilter(CTRL_RX, Uint8Array.from(MAC)).accepts(packetOfVlan(5)));
  });

  test('takes what has no tag, priority tags, and the VLANs that were added', () => {
    const filter = new ReceiveFilter(CTRL_RX | CTRL_VLAN, Uint8Array.from(MAC));
    const vlans = (): boolean[] => [0, 5, 37, 0xfff, 0xe005].map((tag) => filter.accepts(packetOfVlan(tag)));
    assert.deepEqual(vlans(), [true, false, false, false, false]);
    filter.setVlan(5, true);
    filter.setVlan(0xfff, true);
    assert.deepEqual(vlans(), [true, true, false, true, true]);
    filter.setVlan(5, false);
    assert.deepEqual(vlans(), [true, false, false, true, false]);
    assert.equal(taken(filter), 'own,broadcast');
  });

  test('takes any VLAN in promiscuous mode', () => {
    const filter = new ReceiveFilter(CTRL_VLAN | CTRL_RX, Uint8Array.from(MAC));
    filter.setMode(ControlRx.PROMISC, true);
    assert.ok(filter.accepts(packetOfVlan(5)));
  });

  test('takes no frame that ends in its tag', () => {
    const filter = new ReceiveFilter(CTRL_VLAN, Uint8Array.from(MAC));
    assert.equal(filter.accepts(packetFor(MAC, 0x81, 0)), false);
    assert.equal(filter.accepts(packetFor(MAC, 0x81, 0, 0)), false);
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { passtArguments } from './devices/passt.ts';
import { macBytes, type NetConfig, type NetSource, netMistakes } from './net-config.ts';

const net = (source: NetSource, mac?: string, pairs = 1): NetConfig => ({ source, mac, pairs });
const tap = (name: string): NetConfig => net({ kind: 'tap', name });
const forward = { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 } as const;
const user = (changes: Partial<typeof forward> | { protocol: 'udp' } = {}) =>
  ({ kind: 'user', hostForwards: [{ ...forward, ...changes }], hostLoopback: true }) as const;
const lines = (...nets: readonly NetConfig[]) =>
  netMistakes(nets).map(({ option, message }) => `${option}: ${message}`);

describe('netMistakes', () => {
  test('good interfaces have none', () => {
    const good = [tap('fifteen-letters'), net({ kind: 'tap-fd', fd: 3 }, '52:54:00:00:00:01'), net(user())];
    assert.deepEqual(lines(...good), []);
  });

  test('several pairs of queues are a tap’s, and at most 16', () => {
    const single = '--net: vq-pairs: more than one goes with tap-name and host-ip alone';
    const range = '--net: vq-pairs: must be 1 to 16';
    const made = { kind: 'host', address: '10.0.0.1', netmask: '255.255.255.252' } as const;
    assert.deepEqual(lines(net({ kind: 'tap', name: 'a' }, undefined, 16), net(made, undefined, 2)), []);
    assert.deepEqual(lines(net(user(), undefined, 2), net({ kind: 'tap-fd', fd: 3 }, undefined, 2)), [single, single]);
    assert.deepEqual(lines(net(user(), undefined, 0), net({ kind: 'tap', name: 'a' }, undefined, 17)), [range, range]);
  });

  for (const name of ['', '.', '..', 'sixteen-letters!', 'a/b', 'a:b', 'a b', 'a\n', 'ä']) {
    test(`${JSON.stringify(name)} is no name of an interface`, () => {
      assert.deepEqual(lines(tap(name)), ['--net: tap-name: is no name of an interface']);
    });
  }

  for (const [source, message] of [
    [{ kind: 'tap-fd', fd: 2 }, 'tap-fd: must be a descriptor from 3 on'],
    [{ kind: 'host', address: '10.1', netmask: '255.0.0.0' }, 'host-ip: must be an IPv4 address'],
    [
      { kind: 'host', address: '10.0.0.1', netmask: '0.0.0.0' },
      'netmask: must be the mask of an IPv4 network, such as 255.255.255.0',
    ],
    [
      { kind: 'host', address: '10.0.0.1', netmask: '255.0.255.0' },
      'netmask: must be the mask of an IPv4 network, such as 255.255.255.0',
    ],
    [{ kind: 'tap-fd', fd: 3.5 }, 'tap-fd: must be a descriptor from 3 on'],
    [{ ...user(), hostForwards: [{ ...forward, hostPort: 0 }] }, 'hostfwd: a port must be 1 to 65535'],
    [{ ...user(), hostForwards: [{ ...forward, guestPort: 65536 }] }, 'hostfwd: a port must be 1 to 65535'],
    [{ ...user(), hostForwards: [{ ...forward, hostAddress: '-t' }] }, 'hostfwd: the host’s address must be IPv4'],
  ] as const) {
    test(message, () => {
      assert.deepEqual(lines(net(source as NetSource)), [`--net: ${message}`]);
    });
  }

  test('an address is judged', () => {
    assert.deepEqual(lines(net(user(), 'ff:ff:ff:ff:ff:ff')), ['--net: mac: is the address of a group']);
  });

  test('what only one interface can have is given once', () => {
    assert.deepEqual(lines(tap('a'), tap('b'), tap('a')), ['--net: tap-name=a is given twice']);
    assert.deepEqual(lines(net(user()), net(user())), ['--net: hostfwd=tcp:127.0.0.1:8080 is given twice']);
  });

  test('there are at most four', () => {
    assert.deepEqual(lines(...['a', 'b', 'c', 'd', 'e'].map(tap)), ['--net: at most 4 interfaces are possible']);
  });
});

test('the bytes of an address', () => {
  assert.deepEqual([...macBytes('52:54:00:ab:CD:ff')], [0x52, 0x54, 0, 0xab, 0xcd, 0xff]);
});

describe('the arguments of passt', () => {
  const words = (source: Parameters<typeof passtArguments>[0]) => passtArguments(source).join(' ');

  test('forward what was asked for, and nothing else', () => {
    assert.match(words(user()), /--tcp-ports 127\.0\.0\.1\/8080:80 --udp-ports none$/);
    assert.match(words({ ...user(), hostForwards: [] }), /--tcp-ports none --udp-ports none$/);
    const both = [forward, { ...forward, protocol: 'udp' as const, hostPort: 53 }, { ...forward, hostPort: 22 }];
    assert.match(
      words({ ...user(), hostForwards: both }),
      /--tcp-ports 127\.0\.0\.1\/8080:80 --tcp-ports 127\.0\.0\.1\/22:80 --udp-ports 127\.0\.0\.1\/53:80$/,
    );
  });

  test('keep the host’s loopback from the guest when asked', () => {
    assert.match(words({ ...user(), hostLoopback: false }), / --no-map-gw$/);
  });
});

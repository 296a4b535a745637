import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { passtArguments } from './devices/passt.ts';
import { macBytes, type NetConfig, type NetSource, netMistakes } from './net-config.ts';

const net = (source: NetSource, mac?: string): NetConfig => ({ source, mac });
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

  for (const name of ['', '.', '..', 'sixteen-letters!', 'a/b', 'a:b', 'a b', 'a\n', 'ä']) {
    test(`${JSON.stringify(name)} is no name of an interface`, () => {
      assert.deepEqual(lines(tap(name)), ['--net: tap-name: is no name of an interface']);
    });
  }

  for (const [source, message] of [
    [{ kind: 'tap-fd', fd: 2 }, 'tap-fd: must be a descriptor from 3 on'],
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

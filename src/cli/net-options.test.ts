import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseNetOption } from './net-options.ts';

const user = (changes = {}) => ({ kind: 'user', hostForwards: [], hostLoopback: false, ...changes });
const forward = { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 };

describe('--net', () => {
  for (const [text, source, mac, pairs = 1] of [
    ['tap-name=tap0', { kind: 'tap', name: 'tap0' }, undefined],
    ['tap-fd=5,mac=52:54:00:AB:cd:01', { kind: 'tap-fd', fd: 5 }, '52:54:00:ab:cd:01'],
    ['user', user(), undefined],
    ['tap-name=t,vq-pairs=4', { kind: 'tap', name: 't' }, undefined, 4],
    [
      'host-ip=10.0.0.1,netmask=255.255.255.0',
      { kind: 'host', address: '10.0.0.1', netmask: '255.255.255.0' },
      undefined,
    ],
    ['user=true,host-loopback', user({ hostLoopback: true }), undefined],
    ['user,hostfwd=8080-80', user({ hostForwards: [forward] }), undefined],
    [
      'user,hostfwd=tcp:0.0.0.0:22,hostfwd=udp:53-5353',
      user({
        hostForwards: [
          { protocol: 'tcp', hostAddress: '0.0.0.0', hostPort: 22, guestPort: 22 },
          { protocol: 'udp', hostAddress: '127.0.0.1', hostPort: 53, guestPort: 5353 },
        ],
      }),
      undefined,
    ],
    ['tap-name=t,user=false', { kind: 'tap', name: 't' }, undefined],
  ] as const) {
    test(`${text} is understood`, () => {
      assert.deepEqual(parseNetOption(text), { net: { source, mac, pairs }, problems: [] });
    });
  }

  const one = 'needs one of tap-name=…, tap-fd=…, host-ip=… and user';
  const grammar = 'must be [tcp:|udp:][ADDRESS:]PORT[-GUESTPORT]';
  for (const [text, problem] of [
    ['', 'is empty'],
    ['mac=52:54:00:00:00:01', one],
    ['user=false', one],
    ['user,tap-name=tap0', one],
    ['tap-name=', 'tap-name="": needs a value'],
    ['tap-fd=-1', 'tap-fd="-1": must be the number of a descriptor'],
    ['tap-fd', 'tap-fd: must be the number of a descriptor'],
    ['host-ip=10.0.0.1', 'host-ip and netmask go together'],
    ['netmask=255.0.0.0,user', 'host-ip and netmask go together'],
    ['host-ip=10.0.0,netmask=255.0.0.0', 'host-ip="10.0.0": must be an IPv4 address'],
    ['netmask=255.0.255.0', 'netmask="255.0.255.0": must be the mask of an IPv4 network, such as 255.255.255.0'],
    ['user,vq-pairs=x', 'vq-pairs="x": must be a number of pairs of queues'],
    ['user,user', 'key user is given twice'],
    [
      'tap0',
      'unknown key "tap0"; the keys are tap-name, tap-fd, host-ip, netmask, user, mac, vq-pairs, hostfwd, host-loopback',
    ],
    ['user,mac=1', 'mac="1": must be six bytes in hexadecimal with colons between'],
    ['user,mac', 'mac: must be six bytes in hexadecimal with colons between'],
    ['user,mac=01:00:5e:00:00:01', 'mac="01:00:5e:00:00:01": is the address of a group'],
    ['user,mac=00:00:00:00:00:00', 'mac="00:00:00:00:00:00": must not be all zeros'],
    ['user,hostfwd', `hostfwd: ${grammar}`],
    ['user,hostfwd=sctp:80', `hostfwd="sctp:80": ${grammar}`],
    ['user,hostfwd=80-', `hostfwd="80-": ${grammar}`],
    ['user,hostfwd=1.2.3:80', 'hostfwd="1.2.3:80": the address must be IPv4'],
    ['user,hostfwd=0', 'hostfwd="0": a port must be 1 to 65535'],
    ['user,hostfwd=80-65536', 'hostfwd="80-65536": a port must be 1 to 65535'],
    ['tap-name=t,hostfwd=80', 'hostfwd and host-loopback go with user alone'],
    ['tap-fd=3,host-loopback', 'hostfwd and host-loopback go with user alone'],
  ] as const) {
    test(`${JSON.stringify(text)}: ${problem}`, () => {
      assert.deepEqual(parseNetOption(text), { problems: [problem] });
    });
  }
});

/** Real taps, in a network namespace of their own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { missingTap } from '../../host-needs.ts';

const skip = missingTap();

describe('a tap', { skip }, () => {
  const path = join(import.meta.dirname, 'tap-scenario.ts');
  const run = () => spawnSync('unshare', ['-n', process.execPath, path], { encoding: 'utf8', timeout: 60_000 });
  const { stdout, stderr } = skip === false ? run() : { stdout: '{}', stderr: '' };
  const found = (stdout === '' ? {} : JSON.parse(stdout)) as Record<string, unknown>;
  const numbers = (found['numbers'] ?? []) as readonly number[];

  test('carries frames both ways, with the offloads that were taken', () => {
    assert.equal(found['withAll'], 'fine', stderr);
    assert.equal(found['answer'], 2, 'the host answers an ARP request');
  });

  test('that is down loses what is sent, and is still there', () => {
    assert.equal(found['whileDown'], 'fine', stderr);
  });

  test('that is deleted is the end of the network', () => {
    assert.equal(found['deleted'], 'the interface was deleted', stderr);
  });

  test('gives the guest an address of its own', () => {
    const { backend, mac } = found['parameters'] as { backend: string; mac: number[] };
    assert.deepEqual([found['name'], backend, mac.length, mac.slice(0, 3)], ['net3', 'tap', 6, [0x52, 0x54, 0]]);
  });

  test('of two queues has them both, and the second comes and goes as the driver says', () => {
    const one = '--net: tap-name="many": it is no tap of one queue; vq-pairs=… uses one of several';
    const single = '--net: tap-name="named": it is no tap of several queues; ip tuntap add … multi_queue makes one';
    const expected = { one, queueCount: 5, attached: [true, false, false, true], ends: [null, null], single };
    assert.deepEqual(found['several'], expected, stderr);
  });

  test('is made with the host’s address, where one may', () => {
    const unprivileged =
      '--net: host-ip=10.8.0.1: making a tap needs CAP_NET_ADMIN; user needs no privilege, and tap-name=… takes one that is there';
    assert.deepEqual(found['made'], { address: '10.8.0.1/24', queues: [true, true], unprivileged }, stderr);
  });

  const gone = 'there is no such interface; ip tuntap add makes one';
  const flags = 'it has to be opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR';
  for (const [name, message] of [
    ['busy', '--net: tap-name="named": another process uses it'],
    ['missing', `--net: tap-name="missing": ${gone}`],
    ['given', 'none'],
    ['plain', `--net: tap-fd=${numbers[1]}: ${flags}`],
    ['closed', '--net: tap-fd=999999: is not open'],
    ['file', /^--net: tap-fd=\d+: is no tap$/],
    ['detached', /^--net: tap-fd=\d+: is attached to no interface$/],
  ] as const) {
    test(`that is ${name} is told of: ${message}`, () => {
      if (typeof message === 'string') assert.equal(found[name], message, stderr);
      else assert.match(String(found[name]), message, stderr);
    });
  }
});

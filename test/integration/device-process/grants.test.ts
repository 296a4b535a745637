/** Devices in processes of their own that ask main for memory regions, ioevents and interrupts: their own, and another's. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pciFunctionOf } from '#devices/proxy/proxied-function.ts';
import { RngParameters } from '#devices/virtio/rng/parameters.ts';
import type { MemoryRegion } from '#hypervisor/memory-region.ts';
import { Warden } from '#jail/warden.ts';
import { MemoryMapping } from '#memory/memory-mapping.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import type { Client } from '#msg-socket/protocol.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { KiB } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { type CreatedPciDevice, createDevice, NO_JAIL } from '#vmm/devices/create-devices.ts';
import type { DeviceGrants } from '#vmm/devices/grants.ts';
import { Asker, MARKS } from './asker.ts';
import { TestMachine } from './machine.ts';

const ENTRY = new URL('asker-entry.ts', import.meta.url);
const TIMEOUT_MS = 20_000;
const PAGE = 4 * KiB;
const GRANTS: DeviceGrants = { memory: { regionsMax: 2, bytesMax: 64 * KiB }, ioevents: 2 };
const BAR_BYTES = 0x8000;
/** Of queue 0. */
const NOTIFY = 0x3000;

/** Two devices of one machine, without a jail, and what main has of their regions. */
class Asking implements Disposable {
  readonly #owned = new DisposableStack();
  readonly machine = this.#owned.use(new TestMachine());
  readonly regions = new Map<number, MemoryRegion & { readonly mark: number }>();
  readonly devices: Readonly<Record<'first' | 'second', AskingDevice>>;

  constructor(grants: DeviceGrants = GRANTS) {
    const guestMemoryFd = this.machine.memory.fd;
    const warden = this.#owned.use(new Warden({ entry: ENTRY, guestMemoryFd }));
    let slots = 0;
    const addMemoryRegion = (region: MemoryRegion): number => {
      using mapping = MemoryMapping.fromFd(region);
      this.regions.set(slots, { ...region, mark: viewOf(mapping.bytes).getUint32(0, true) });
      return slots++;
    };
    const removeMemoryRegion = (slot: number): void => void this.regions.delete(slot);
    const options = {
      ...this.machine.options({ sandbox: false }),
      warden,
      memoryRegions: { addMemoryRegion, removeMemoryRegion },
    };
    const create = (name: string, slot: number): AskingDevice => {
      using ends = new DisposableStack();
      const pair = Asker.pair();
      const fds = [ends.use(pair.server)];
      const common = {
        device: 'rng',
        policy: 'rng_device',
        queueCount: 1,
        parameters: encodeBytes(RngParameters, undefined),
      } as const;
      const created = createDevice(
        { plan: { ...common, name, fds, grants }, jail: NO_JAIL, slot },
        options,
        this.#owned,
      );
      const client = Asker.client(pair.client, { sendMs: TIMEOUT_MS, receiveMs: TIMEOUT_MS });
      this.#owned.defer(() => client.close());
      return new AskingDevice(created, client);
    };
    this.devices = { first: create('first', 1), second: create('second', 2) };
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

type Question = (device: Client<typeof Asker>) => void;

class AskingDevice {
  readonly created: CreatedPciDevice;
  readonly #client: Client<typeof Asker>;

  constructor(created: CreatedPciDevice, client: Client<typeof Asker>) {
    this.created = created;
    this.#client = client;
  }

  /** What main answers: the number that it gives, or the code of its refusal. Its loop serves what the device asks meanwhile. */
  ask(question: Question): number | string {
    question(this.#client);
    const [irq, , ...granted] = this.created.servers;
    const servers = [irq, ...granted].filter((server) => server !== undefined);
    for (let served = false; !served; ) {
      for (const server of servers) {
        if (pollFd(server.fd, PollFlag.IN, 10) !== 0) served = server.tryServeOne() === true;
        if (served) break;
      }
    }
    const { code, value } = this.#client.outcome();
    return code === 'ok' ? value : code;
  }

  signals(): number {
    return this.#client.signals().count;
  }
}

const register =
  (sizeBytes = PAGE, isSealed = true): Question =>
  (device) =>
    device.register({ sizeBytes, isSealed });
const unregister =
  (slot: number): Question =>
  (device) =>
    device.unregister({ slot });
const addIoevent =
  (bar: number, offset: number): Question =>
  (device) =>
    device.addIoevent({ bar, offset });
const removeIoevent =
  (id: number): Question =>
  (device) =>
    device.removeIoevent({ id });

describe('a device that asks main', { timeout: 60_000 }, () => {
  test('for memory gets addresses of its own, and cannot take another’s away', () => {
    using all = new Asking();
    const { first, second } = all.devices;
    assert.deepEqual([first.ask(register()), second.ask(register(2 * PAGE))], [0, 1]);
    const facts = [...all.regions.values()].map(({ mark, sizeBytes }) => [mark, sizeBytes]);
    assert.deepEqual(facts, [
      [MARKS['first'], PAGE],
      [MARKS['second'], 2 * PAGE],
    ]);
    assert.notEqual(all.regions.get(0)?.guestAddress, all.regions.get(1)?.guestAddress);
    assert.deepEqual(
      [second.ask(unregister(0)), first.ask(unregister(1)), first.ask(unregister(7))],
      ['NOT_YOURS', 'NOT_YOURS', 'NOT_YOURS'],
    );
    assert.deepEqual([...all.regions.keys()], [0, 1]);
    assert.deepEqual([first.ask(unregister(0)), first.ask(unregister(0))], [0, 'NOT_YOURS']);
    assert.deepEqual([...all.regions.keys()], [1]);
  });

  test('for more memory than it may have, or for some that could vanish, is refused', () => {
    using all = new Asking();
    const { first } = all.devices;
    assert.deepEqual([first.ask(register(68 * KiB)), first.ask(register(PAGE, false))], ['TOO_MUCH', 'BAD_MEMORY']);
    assert.deepEqual([first.ask(register()), first.ask(register()), first.ask(register())], [0, 1, 'TOO_MUCH']);
  });

  test('for an ioevent has writes of the guest at its own BAR alone', () => {
    using all = new Asking();
    const { first, second } = all.devices;
    const [bar] = first.created.place.pciFunction.bars;
    assert.deepEqual([bar?.index, bar?.sizeBytes], [0, BAR_BYTES]);
    const outside = [
      first.ask(addIoevent(0, BAR_BYTES)),
      first.ask(addIoevent(2, 0)),
      first.ask(addIoevent(0, NOTIFY)),
    ];
    assert.deepEqual(outside, ['NOT_YOURS', 'NOT_YOURS', 'TAKEN']);
    assert.equal(first.ask(addIoevent(0, 0x5000)), 0);
    assert.deepEqual([second.ask(removeIoevent(0)), first.ask(addIoevent(0, 0x5000))], ['NOT_YOURS', 'TAKEN']);
    const { ioevents } = pciFunctionOf(first.created.place.pciFunction, () => assert.fail('the device answers'));
    const at = (offset: number) => ioevents.find((each) => each.bar === 0 && each.offset === offset);
    at(0x5000)?.event.write();
    assert.deepEqual([first.signals(), second.signals()], [1, 0]);
    assert.equal(first.ask(removeIoevent(0)), 0);
    assert.equal(at(0x5000), undefined);
  });

  test('for an interrupt gets one of its own, and cannot route another’s', () => {
    using all = new Asking();
    const { first, second } = all.devices;
    const allocate: Question = (device) => device.allocateGsi();
    const gsi = first.ask(allocate);
    assert.ok(typeof gsi === 'number');
    const route: Question = (device) => device.route({ gsi });
    assert.deepEqual([second.ask(route), all.machine.routes.size, first.ask(route)], ['NOT_YOURS', 0, 0]);
    assert.deepEqual([...all.machine.routes.keys()], [gsi]);
  });

  test('a kind without grants has no sockets to ask with', () => {
    using all = new Asking({});
    for (const { created } of Object.values(all.devices)) {
      assert.deepEqual([created.servers.length, created.place.pciFunction.sharedIoevents], [2, undefined]);
    }
  });
});

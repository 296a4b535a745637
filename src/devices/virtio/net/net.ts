/** The network device, VIRTIO 1.1 §5.1: pairs of queues over those of a tap, or one pair over a socket with frames. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { Worker } from '../worker.ts';
import type { NetBackend, NetEnd } from './backend.ts';
import { LINK_UP, MAC_BYTES, NetConfigSpace, NetFeature, QUEUE_PAIRS_MAX, queueSizesOf } from './constants.ts';
import { createNetWorker } from './net-worker.ts';

export interface NetResources {
  /** One for each pair of queues: up to QUEUE_PAIRS_MAX of one interface, all alike. */
  readonly backends: readonly NetBackend[];
  readonly log: Log;
  /** The guest's address: 6 bytes, not of a group. */
  readonly mac: Uint8Array;
  /** `net` by default. */
  readonly name?: string;
}

export class Net implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.NETWORK;
  readonly queueMaxSizes: readonly number[];
  configGeneration = 0;
  readonly #backends: readonly NetBackend[];
  readonly #log: Log;
  readonly #givenMac: Uint8Array;
  /** The driver may change it, until the reset. */
  readonly #mac: Uint8Array;
  #acked = 0n;
  #hasLink = true;

  constructor({ backends, log, mac, name = 'net' }: NetResources) {
    assert(backends.length >= 1 && backends.length <= QUEUE_PAIRS_MAX, 'a backend for each pair of queues');
    assert(mac.length === MAC_BYTES && (mac[0]! & 1) === 0, 'the address of one interface');
    this.name = name;
    this.#backends = backends;
    this.queueMaxSizes = queueSizesOf(backends.length);
    this.#log = log;
    this.#givenMac = mac;
    this.#mac = mac.slice();
  }

  features(): bigint {
    const { MAC, STATUS, MRG_RXBUF, CTRL_VQ, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, CTRL_MAC_ADDR, MQ } = NetFeature;
    const control = CTRL_VQ | CTRL_RX | CTRL_RX_EXTRA | CTRL_VLAN | CTRL_MAC_ADDR;
    const several = this.#backends.length > 1 ? MQ : 0n;
    return MAC | STATUS | MRG_RXBUF | control | several | (this.#backends[0]?.features ?? 0n);
  }

  ackFeatures(bits: bigint): void {
    this.#acked = bits;
  }

  readConfig(offset: number, data: Uint8Array): void {
    const status = this.#hasLink ? LINK_UP : 0;
    // §5.1.4: the number of pairs is there with MQ only; what is not there reads as zeros.
    const maxVirtqueuePairs = this.#backends.length > 1 ? this.#backends.length : 0;
    readConfigBytes(NetConfigSpace.encode({ mac: this.#mac, status, maxVirtqueuePairs }), offset, data);
  }

  /** With VERSION_1 the driver changes its address by a command, §5.1.4. */
  writeConfig(_offset: number, _data: Uint8Array): void {}

  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    const backends = this.#backends;
    for (const backend of backends) backend.useFeatures(this.#acked);
    const onEnd = (end: NetEnd): void => {
      this.#log.error(`the link is down: ${end}`);
      if (!this.#hasLink) return;
      this.#hasLink = false;
      this.configGeneration += 1;
      interrupt.signalConfigChanged();
    };
    const useMac = (mac: Uint8Array): void => {
      this.#mac.set(mac);
      this.configGeneration += 1;
    };
    const features = this.#acked;
    return createNetWorker({
      backends,
      features,
      interrupt,
      queues,
      queueEvents,
      onEnd,
      mac: this.#mac,
      useMac,
    });
  }

  reset(): void {
    this.#acked = 0n;
    this.#mac.set(this.#givenMac);
  }

  keepFds(): readonly number[] {
    return this.#backends.flatMap((backend) => backend.keepFds());
  }
}

export const net = defineVirtioDevice({
  name: 'net',
  type: DeviceType.NETWORK,
  queueSizes: queueSizesOf(1),
  policy: 'net_device',
  create: (resources: NetResources) => new Net(resources),
});

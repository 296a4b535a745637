/** The network device, VIRTIO 1.1 §5.1: one pair of queues over a tap, or over a socket with frames. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { Worker } from '../worker.ts';
import type { NetBackend } from './backend.ts';
import { LINK_UP, MAC_BYTES, NetConfigSpace, NetFeature, QUEUE_SIZES } from './constants.ts';
import { createNetWorker } from './net-worker.ts';

export interface NetResources {
  readonly backend: NetBackend;
  readonly log: Log;
  /** The guest's address: 6 bytes, not of a group. */
  readonly mac: Uint8Array;
  /** `net` by default. */
  readonly name?: string;
}

export class Net implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.NETWORK;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  configGeneration = 0;
  readonly #backend: NetBackend;
  readonly #log: Log;
  readonly #mac: Uint8Array;
  #acked = 0n;
  #hasLink = true;

  constructor({ backend, log, mac, name = 'net' }: NetResources) {
    assert(mac.length === MAC_BYTES && (mac[0]! & 1) === 0, 'the address of one interface');
    this.name = name;
    this.#backend = backend;
    this.#log = log;
    this.#mac = mac;
  }

  features(): bigint {
    return NetFeature.MAC | NetFeature.STATUS | NetFeature.MRG_RXBUF | this.#backend.features;
  }

  ackFeatures(bits: bigint): void {
    this.#acked = bits;
  }

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(NetConfigSpace.encode({ mac: this.#mac, status: this.#hasLink ? LINK_UP : 0 }), offset, data);
  }

  /** With VERSION_1 the driver cannot change its address here, §5.1.4. */
  writeConfig(_offset: number, _data: Uint8Array): void {}

  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    const backend = this.#backend;
    backend.useFeatures(this.#acked);
    const onEnd = (): void => {
      this.#log.error(`the link is down: ${backend.end}`);
      if (!this.#hasLink) return;
      this.#hasLink = false;
      this.configGeneration += 1;
      interrupt.signalConfigChanged();
    };
    return createNetWorker({ backend, features: this.#acked, interrupt, queues, queueEvents, onEnd });
  }

  reset(): void {
    this.#acked = 0n;
  }

  keepFds(): readonly number[] {
    return this.#backend.keepFds();
  }
}

export const net = defineVirtioDevice({
  name: 'net',
  type: DeviceType.NETWORK,
  queueSizes: QUEUE_SIZES,
  policy: 'net_device',
  create: (resources: NetResources) => new Net(resources),
});

/** The socket device, VIRTIO 1.1 §5.10: stream sockets between the guest and Unix sockets of the host. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { Worker } from '../worker.ts';
import { GUEST_CID, QUEUE_SIZES, VsockConfig } from './constants.ts';
import type { HostSockets } from './host-sockets.ts';
import { VsockWorker } from './vsock-worker.ts';

export interface VsockResources {
  /** The guest's context id, GUEST_CID. */
  readonly cid: number;
  readonly host: HostSockets;
  /** Descriptors of `host`. */
  readonly hostFds?: readonly number[];
}

export class Vsock implements VirtioDevice {
  readonly name = 'vsock';
  readonly deviceType = DeviceType.VSOCK;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  readonly #resources: VsockResources;

  constructor(resources: VsockResources) {
    const { cid } = resources;
    assert(Number.isInteger(cid) && cid >= GUEST_CID.min && cid <= GUEST_CID.max, 'a context id of a guest');
    this.#resources = resources;
  }

  /** None are defined, §5.10.3. */
  features(): bigint {
    return 0n;
  }

  ackFeatures(_bits: bigint): void {}

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(VsockConfig.encode({ guestCid: this.#resources.cid }), offset, data);
  }

  writeConfig(_offset: number, _data: Uint8Array): void {}

  /** The event queue's buffers stay where they are: its only event is that of a migration, §5.10.6.6. */
  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    const { cid, host } = this.#resources;
    return new VsockWorker({ cid, host, interrupt, queues, queueEvents });
  }

  reset(): void {}

  keepFds(): readonly number[] {
    return this.#resources.hostFds ?? [];
  }
}

export const vsock = defineVirtioDevice({
  name: 'vsock',
  type: DeviceType.VSOCK,
  queueSizes: QUEUE_SIZES,
  policy: 'vsock_device',
  create: (resources: VsockResources) => new Vsock(resources),
});

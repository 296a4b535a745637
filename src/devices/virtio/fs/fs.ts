/** The file system device, VIRTIO 1.2 §5.11: a directory of the host, by a FUSE server. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { EventWorker, QueueServer, type Worker } from '../worker.ts';
import { FsConfigSpace, QUEUE_SIZES, TAG_BYTES } from './constants.ts';
import { FuseContext, type FuseOptions } from './context.ts';
import { FuseServer } from './server.ts';

export interface FsResources extends Omit<FuseOptions, 'host'> {
  /** What the guest mounts: UTF-8, at most TAG_BYTES, not empty. */
  readonly tag: string;
  /** `fs` by default. */
  readonly name?: string;
  /** Opens the directory; called in the jail, once, when a driver is there. Throws SyscallError. */
  readonly openHost: () => FuseOptions['host'];
}

export class Fs implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.FS;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  readonly #resources: FsResources;
  readonly #config: Uint8Array;
  #context: FuseContext | undefined;

  constructor(resources: FsResources) {
    const tag = Buffer.from(resources.tag);
    assert(tag.length > 0 && tag.length <= TAG_BYTES, 'a tag that fits');
    this.name = resources.name ?? 'fs';
    this.#resources = resources;
    this.#config = FsConfigSpace.encode({ tag, numRequestQueues: QUEUE_SIZES.length - 1 });
  }

  /** NOTIFICATION is not offered. */
  features(): bigint {
    return 0n;
  }

  ackFeatures(_bits: bigint): void {}

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(this.#config, offset, data);
  }

  writeConfig(_offset: number, _data: Uint8Array): void {}

  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    this.#context ??= new FuseContext({ ...this.#resources, host: this.#resources.openHost() });
    const context = this.#context;
    const servers = queues.map((queue, index) => {
      const event = queueEvents[index];
      assert(event !== undefined, 'an event for every queue');
      if (queue === undefined) return undefined;
      const server = new QueueServer({ queue, event, interrupt });
      const { memory, capacity } = server.chain;
      return { server, requests: new FuseServer(context, memory, capacity) };
    });
    const sources = servers.flatMap((served, index) => (served ? [[served.server.event, index] as const] : []));
    return new EventWorker(u64AsNumber, sources, (index) => {
      const served = servers[index];
      served?.server.serve(served.requests);
    });
  }

  reset(): void {
    this.#context?.forgetAll();
  }

  close(): void {
    this.#context?.forgetAll();
  }

  keepFds(): readonly number[] {
    return [];
  }
}

export const fs = defineVirtioDevice({
  name: 'fs',
  type: DeviceType.FS,
  queueSizes: QUEUE_SIZES,
  policy: 'fs_device',
  create: (resources: FsResources) => new Fs(resources),
});

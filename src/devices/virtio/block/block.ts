/** The block device, VIRTIO 1.1 §5.2, over a disk image of any format. */
import { DiskError, type DiskFile } from '#disk/disk-file.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import { isPowerOfTwo } from '#util/bits.ts';
import type { Log } from '#util/log.ts';
import { u64AsNumber } from '#util/struct.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { EventWorker, QueueServer, type Worker } from '../worker.ts';
import {
  BlockConfig,
  BlockFeature,
  DISCARD_ALIGNMENT_SECTORS,
  DISCARD_SECTORS_MAX,
  ID_BYTES,
  QUEUE_SIZE,
  SECTOR_BYTES,
  SEG_MAX,
  SEGMENTS_MAX,
  WRITE_ZEROES_SECTORS_MAX,
} from './constants.ts';
import { BlockRequests } from './request-handler.ts';

export interface BlockResources {
  /** The device's from here on: it sets `onLengthChange`. */
  readonly disk: DiskFile;
  readonly log: Log;
  /** `block` by default. */
  readonly name?: string;
  /** What GET_ID answers: at most 20 ASCII characters; empty by default. */
  readonly id?: string;
  /** A power of two from 512 on; 512 by default. */
  readonly blockSizeBytes?: number;
  /** 1 by default. */
  readonly queueCount?: number;
  /** Offer DISCARD, so that the image may have holes; true by default. */
  readonly sparse?: boolean;
}

export class Block implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.BLOCK;
  readonly queueMaxSizes: readonly number[];
  configGeneration = 0;
  readonly #disk: DiskFile;
  readonly #log: Log;
  readonly #id = new Uint8Array(ID_BYTES);
  readonly #blockSizeBytes: number;
  readonly #sparse: boolean;
  #acked = 0n;
  #interrupt: Interrupt | undefined;

  constructor(resources: BlockResources) {
    const {
      disk,
      log,
      name = 'block',
      id = '',
      blockSizeBytes = SECTOR_BYTES,
      queueCount = 1,
      sparse = true,
    } = resources;
    assert(isPowerOfTwo(blockSizeBytes) && blockSizeBytes >= SECTOR_BYTES, 'a block size');
    assert(Number.isInteger(queueCount) && queueCount > 0, 'a number of queues');
    assert(id.length <= ID_BYTES, 'an ID that fits');
    this.name = name;
    this.queueMaxSizes = Array.from({ length: queueCount }, () => QUEUE_SIZE);
    this.#disk = disk;
    this.#log = log;
    this.#blockSizeBytes = blockSizeBytes;
    this.#sparse = sparse;
    this.#id.set(Buffer.from(id, 'latin1'));
    disk.onLengthChange = () => {
      this.configGeneration += 1;
      this.#interrupt?.signalConfigChanged();
    };
  }

  /** The driver reads the new capacity when it is told, §5.2.5. Throws DiskError, SyscallError. */
  resize(sizeBytes: number): void {
    this.#disk.grow(sizeBytes);
  }

  features(): bigint {
    const { SEG_MAX, RO, BLK_SIZE, FLUSH, MQ, DISCARD, WRITE_ZEROES } = BlockFeature;
    const common = SEG_MAX | BLK_SIZE | (this.queueMaxSizes.length > 1 ? MQ : 0n);
    if (this.#disk.isReadOnly) return common | RO;
    return common | FLUSH | WRITE_ZEROES | (this.#sparse ? DISCARD : 0n);
  }

  ackFeatures(bits: bigint): void {
    this.#acked = bits;
  }

  readConfig(offset: number, data: Uint8Array): void {
    const writable = !this.#disk.isReadOnly;
    const image = BlockConfig.encode({
      capacity: Math.floor(this.#disk.lengthBytes / SECTOR_BYTES),
      segMax: SEG_MAX,
      blkSize: this.#blockSizeBytes,
      numQueues: this.queueMaxSizes.length,
      ...(writable && this.#sparse
        ? {
            maxDiscardSectors: DISCARD_SECTORS_MAX,
            maxDiscardSeg: SEGMENTS_MAX,
            discardSectorAlignment: DISCARD_ALIGNMENT_SECTORS,
          }
        : {}),
      ...(writable
        ? {
            maxWriteZeroesSectors: WRITE_ZEROES_SECTORS_MAX,
            maxWriteZeroesSeg: SEGMENTS_MAX,
            writeZeroesMayUnmap: this.#sparse ? 1 : 0,
          }
        : {}),
    });
    readConfigBytes(image, offset, data);
  }

  /** No field can be written: CONFIG_WCE is not offered. */
  writeConfig(_offset: number, _data: Uint8Array): void {}

  activate(_memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker {
    const servers = queues.map((queue, index) => {
      const event = queueEvents[index];
      assert(event !== undefined, 'an event for every queue');
      if (queue === undefined) return undefined;
      const server = new QueueServer({ queue, event, interrupt });
      const { memory, capacity } = server.chain;
      const options = { disk: this.#disk, id: this.#id, features: this.#acked, mayUnmap: this.#sparse, log: this.#log };
      return { server, requests: new BlockRequests(memory, capacity, options) };
    });
    this.#interrupt = interrupt;
    const sources = servers.flatMap((served, index) => (served ? [[served.server.event, index] as const] : []));
    return new EventWorker(u64AsNumber, sources, (index) => {
      const served = servers[index];
      served?.server.serve(served.requests);
    });
  }

  reset(): void {
    this.#acked = 0n;
    this.#interrupt = undefined;
  }

  /** An image that has tables keeps changes of them in memory until a flush. */
  close(): void {
    try {
      this.#disk[Symbol.dispose]();
    } catch (error) {
      if (!(error instanceof DiskError || error instanceof SyscallError)) throw error;
      this.#log.error(`closing the image: ${error.message}`);
    }
  }

  keepFds(): readonly number[] {
    return this.#disk.keepFds();
  }
}

export const block = defineVirtioDevice({
  name: 'block',
  type: DeviceType.BLOCK,
  queueSizes: [QUEUE_SIZE],
  policy: 'block_device',
  create: (resources: BlockResources) => new Block(resources),
});

/**
 * The persistent memory device, VIRTIO 1.2 §5.19: a file that the guest reads and writes as memory, without this device. What it
 * does is to say where that memory is, and to bring what was written to the medium.
 */
import { DiskError, type DiskFile } from '#disk/disk-file.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { namedTokens } from '#poll/token.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { viewOf } from '#util/struct.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, readConfigBytes, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { ChainReader, ChainWriter } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { QueueFault } from '../queue/queue-fault.ts';
import { EventWorker, QueueServer, type RequestHandler, type Worker } from '../worker.ts';
import { PmemConfig, PmemRequest, PmemRequestType, PmemResponse, PmemStatus, QUEUE_SIZES } from './constants.ts';

export interface PmemResources {
  readonly name: string;
  /** The memory's first guest-physical address, and its size. */
  readonly start: number;
  readonly sizeBytes: number;
  /** The file behind it. Absent where the guest cannot write: there is nothing that a flush could bring to the medium. */
  readonly file?: Pick<DiskFile, 'flush' | 'keepFds'>;
  readonly log: Log;
}

const tokens = namedTokens('request');

type Status = (typeof PmemStatus)[keyof typeof PmemStatus];

/** Every request that has room for an answer gets one. */
class PmemRequests implements RequestHandler {
  readonly #resources: PmemResources;
  readonly #request = new Uint8Array(PmemRequest.size);
  readonly #requestView = viewOf(this.#request);
  readonly #response = new Uint8Array(PmemResponse.size);
  readonly #responseView = viewOf(this.#response);

  constructor(resources: PmemResources) {
    this.#resources = resources;
  }

  handle(_chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number | QueueFault {
    if (writer.remaining < PmemResponse.size) return 'NO_ROOM_FOR_ANSWER';
    PmemResponse.fields.ret.set(this.#responseView, 0, this.#execute(reader));
    return writer.write(this.#response);
  }

  #execute(reader: ChainReader): Status {
    if (reader.read(this.#request) < PmemRequest.size) return PmemStatus.EIO;
    const isFlush = PmemRequest.fields.type.get(this.#requestView, 0) === PmemRequestType.FLUSH;
    return isFlush ? this.#flush() : PmemStatus.EIO;
  }

  /** OK only when all that the guest wrote before is on the medium. */
  #flush(): Status {
    const { file, log } = this.#resources;
    // What the guest wrote, if it did, was dropped.
    if (file === undefined) return PmemStatus.EIO;
    try {
      file.flush();
      return PmemStatus.OK;
    } catch (error) {
      if (!(error instanceof DiskError || error instanceof SyscallError)) throw error;
      log.error(`a flush failed: ${error.message}`);
      return PmemStatus.EIO;
    }
  }
}

export class Pmem implements VirtioDevice {
  readonly name: string;
  readonly deviceType = DeviceType.PMEM;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  readonly #resources: PmemResources;
  readonly #config: Uint8Array;

  constructor(resources: PmemResources) {
    this.#resources = resources;
    this.name = resources.name;
    this.#config = PmemConfig.encode({ start: resources.start, size: resources.sizeBytes });
  }

  /** The range is in the configuration, not a shared memory region: no SHMEM_REGION, §5.19.3. */
  features(): bigint {
    return 0n;
  }

  ackFeatures(_bits: bigint): void {}

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(this.#config, offset, data);
  }

  writeConfig(_offset: number, _data: Uint8Array): void {}

  activate(_memory: GuestMemory, interrupt: Interrupt, [queue]: ActiveQueues, [event]: readonly EventFd[]): Worker {
    assert(event !== undefined, 'an event for the queue');
    if (queue === undefined) return new EventWorker(tokens, [], () => {});
    const server = new QueueServer({ queue, event, interrupt });
    const requests = new PmemRequests(this.#resources);
    return new EventWorker(tokens, [[event, 'request']], () => server.serve(requests));
  }

  reset(): void {}

  keepFds(): readonly number[] {
    return this.#resources.file?.keepFds() ?? [];
  }
}

export const pmem = defineVirtioDevice({
  name: 'pmem',
  type: DeviceType.PMEM,
  queueSizes: QUEUE_SIZES,
  policy: 'pmem_device',
  create: (resources: PmemResources) => new Pmem(resources),
});

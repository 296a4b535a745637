/** The entropy device, VIRTIO 1.1 §5.4: one queue of buffers that the device fills with random bytes. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { namedTokens } from '#poll/token.ts';
import { assert } from '#util/assert.ts';
import { KiB } from '#util/bits.ts';
import { DeviceType } from '../constants.ts';
import { type ActiveQueues, defineVirtioDevice, type VirtioDevice } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { ChainReader, ChainWriter } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { EventWorker, QueueServer, type RequestHandler, type Worker } from '../worker.ts';
import type { EntropySource } from './entropy-source.ts';

const QUEUE_SIZES = [256] as const;

/** The most bytes for one request; the driver sees how many it got and asks again. Linux asks for at most a cache line. */
const REQUEST_BYTES_MAX = 64 * KiB;
/** Bytes that are drawn at a time. */
const DRAW_BYTES = 4 * KiB;

export interface RngResources {
  readonly entropy: EntropySource;
}

const tokens = namedTokens('request');

/** Fills the writable part of a request. */
class RngRequests implements RequestHandler {
  readonly #entropy: EntropySource;
  readonly #drawn = new Uint8Array(DRAW_BYTES);

  constructor(entropy: EntropySource) {
    this.#entropy = entropy;
  }

  handle(_chain: DescriptorChain, _reader: ChainReader, writer: ChainWriter): number {
    const wanted = Math.min(writer.remaining, REQUEST_BYTES_MAX);
    for (let done = 0; done < wanted; ) {
      const size = Math.min(DRAW_BYTES, wanted - done);
      this.#entropy.fill(size === DRAW_BYTES ? this.#drawn : this.#drawn.subarray(0, size));
      done += writer.write(this.#drawn, size);
    }
    // What the guest has got is its secret.
    this.#drawn.fill(0);
    return wanted;
  }
}

export class Rng implements VirtioDevice {
  readonly name = 'rng';
  readonly deviceType = DeviceType.ENTROPY;
  readonly queueMaxSizes: readonly number[] = QUEUE_SIZES;
  readonly #entropy: EntropySource;

  constructor({ entropy }: RngResources) {
    this.#entropy = entropy;
  }

  features(): bigint {
    return 0n;
  }

  ackFeatures(_bits: bigint): void {}

  /** It has no configuration, §5.4.4. */
  readConfig(_offset: number, _data: Uint8Array): void {}

  writeConfig(_offset: number, _data: Uint8Array): void {}

  activate(_memory: GuestMemory, interrupt: Interrupt, [queue]: ActiveQueues, [event]: readonly EventFd[]): Worker {
    assert(event !== undefined, 'an event for the queue');
    if (queue === undefined) return new EventWorker(tokens, [], () => {});
    const server = new QueueServer({ queue, event, interrupt });
    const requests = new RngRequests(this.#entropy);
    return new EventWorker(tokens, [[event, 'request']], () => server.serve(requests));
  }

  reset(): void {}

  keepFds(): readonly number[] {
    return this.#entropy.keepFds();
  }
}

export const rng = defineVirtioDevice({
  name: 'rng',
  type: DeviceType.ENTROPY,
  queueSizes: QUEUE_SIZES,
  policy: 'rng_device',
  create: (resources: RngResources) => new Rng(resources),
});

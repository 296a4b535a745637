import type { GuestMemory } from '#memory/guest-memory.ts';
import { NO_VECTOR } from '../constants.ts';
import { configFault, defaultQueueConfig, type QueueConfig } from '../queue/queue-config.ts';
import type { QueueFault } from '../queue/queue-fault.ts';

/** The 64-bit fields of a queue, each two words of `addresses`, low first. */
export const QUEUE_ADDRESSES = { queueDesc: 0, queueDriver: 2, queueDevice: 4 } as const;
export type QueueAddress = keyof typeof QUEUE_ADDRESSES;

const ADDRESS_WORDS = 6;

/** The registers behind `queue_select` for one queue, VIRTIO 1.1 §4.1.4.3. */
export class QueueRegisters {
  readonly config: QueueConfig;
  /** As the driver wrote them: a number does not hold every 64-bit address exactly. */
  readonly addresses = new Uint32Array(ADDRESS_WORDS);
  isEnabled = false;

  constructor(maxSize: number) {
    this.config = defaultQueueConfig(maxSize);
  }

  /** Enables the queue, unless something is wrong with it. */
  enable(memory: GuestMemory): QueueFault | undefined {
    this.config.descriptorTable = this.#address(QUEUE_ADDRESSES.queueDesc);
    this.config.availableRing = this.#address(QUEUE_ADDRESSES.queueDriver);
    this.config.usedRing = this.#address(QUEUE_ADDRESSES.queueDevice);
    const fault = configFault(memory, this.config);
    this.isEnabled = fault === undefined;
    return fault;
  }

  reset(): void {
    this.config.size = this.config.maxSize;
    this.config.vector = NO_VECTOR;
    this.addresses.fill(0);
    this.isEnabled = false;
  }

  #address(word: number): number {
    return this.addresses[word]! + this.addresses[word + 1]! * 2 ** 32;
  }
}

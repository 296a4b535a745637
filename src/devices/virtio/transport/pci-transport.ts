import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { assert } from '#util/assert.ts';
import { CodedError } from '#util/errors.ts';
import type { Log } from '#util/log.ts';
import { Feature, NO_VECTOR, Status, TRANSPORT_FEATURES } from '../constants.ts';
import type { VirtioDevice } from '../device.ts';
import { Queue } from '../queue/queue.ts';
import { QUEUE_FAULTS } from '../queue/queue-fault.ts';
import type { Worker, WorkerHost } from '../worker.ts';
import { BAR, CommonConfig, type CommonField, FIELD_AT, NOTIFY_OFF_MULTIPLIER } from './common-config.ts';
import { QUEUE_ADDRESSES, type QueueAddress, QueueRegisters } from './queue-registers.ts';
import { type PciInterrupt, TransportInterrupt } from './transport-interrupt.ts';

export interface PciTransportOptions {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly interrupt: PciInterrupt;
  /** MSI-X vectors that the function has; mapping a queue to a further one is refused. */
  readonly vectorCount: number;
  /** One a queue, for ioeventfds as well. They stay the caller's. */
  readonly queueEvents: readonly EventFd[];
  readonly workers: WorkerHost;
  readonly log: Log;
}

/** Bits that the driver may set, in the order of §3.1.1; each needs those before. */
const DRIVER_STEPS = [Status.ACKNOWLEDGE, Status.DRIVER, Status.FEATURES_OK, Status.DRIVER_OK] as const;
const WORD = 2 ** 32;

/**
 * The registers of a modern virtio PCI function, VIRTIO 1.1 §4.1.4, without PCI: `read` and `write` take offsets in the BAR
 * (`BAR`), and the PCI part only maps them and points capabilities at them. What the driver may not do writes nothing.
 *
 * Accesses to the common configuration: a read of any width and alignment gives the bytes of the fields; a write has to be of
 * a whole field, or of either half of a 64-bit one, as §4.1.3.1 tells drivers.
 */
export class VirtioPciTransport {
  readonly device: VirtioDevice;
  readonly #options: PciTransportOptions;
  readonly #queues: readonly QueueRegisters[];
  readonly #interrupt: TransportInterrupt;
  #status = 0;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #driverFeatures = 0n;
  #queueSelect = 0;
  #worker: Worker | undefined;

  constructor(options: PciTransportOptions) {
    this.device = options.device;
    this.#options = options;
    this.#queues = options.device.queueMaxSizes.map((size) => new QueueRegisters(size));
    assert(options.queueEvents.length === this.#queues.length, 'an event for every queue');
    assert(this.#queues.length * NOTIFY_OFF_MULTIPLIER <= BAR.NOTIFY.sizeBytes, 'room to notify every queue');
    this.#interrupt = new TransportInterrupt(options.interrupt, (reason) => this.#needReset(reason));
  }

  /** The status register, §2.1. */
  get status(): number {
    return this.#status;
  }

  get isActive(): boolean {
    return this.#worker !== undefined;
  }

  /** Fills `data`. Where there is no register, zeros. */
  read(offset: number, data: Uint8Array): void {
    data.fill(0);
    if (offset < BAR.COMMON.sizeBytes) this.#readCommon(offset, data);
    else if (offset === BAR.ISR.offset) data[0] = this.#interrupt.takeIsr();
    else if (offset >= BAR.DEVICE.offset && offset < BAR.DEVICE.offset + BAR.DEVICE.sizeBytes) {
      this.device.readConfig(offset - BAR.DEVICE.offset, data);
    }
  }

  write(offset: number, data: Uint8Array): void {
    if (offset < BAR.COMMON.sizeBytes) this.#writeCommon(offset, data);
    else if (offset >= BAR.NOTIFY.offset) this.#notify(offset - BAR.NOTIFY.offset);
    else if (offset >= BAR.DEVICE.offset) this.device.writeConfig(offset - BAR.DEVICE.offset, data);
  }

  /** What writing 0 to the status does, §2.1 and §4.1.4.3.1; also for the function's own reset. */
  reset(): void {
    this.#stopWorker();
    this.device.reset();
    this.#status = 0;
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#driverFeatures = 0n;
    this.#queueSelect = 0;
    for (const queue of this.#queues) queue.reset();
    this.#interrupt.reset();
  }

  /** Stops the work, for the end of the machine. */
  close(): void {
    this.#stopWorker();
    this.device.close?.();
  }

  #notify(offset: number): void {
    if (offset % NOTIFY_OFF_MULTIPLIER === 0) this.#options.queueEvents[offset / NOTIFY_OFF_MULTIPLIER]?.write();
  }

  #readCommon(offset: number, data: Uint8Array): void {
    for (let index = 0; index < data.length; index++) {
      const name = FIELD_AT[offset + index];
      if (name === undefined) return;
      const at = offset + index - CommonConfig.fields[name].offset;
      const word = isAddress(name) ? this.#addressWord(name, at >> 2) : this.#readField(name);
      data[index] = word >>> ((at & 3) * 8);
    }
  }

  #writeCommon(offset: number, data: Uint8Array): void {
    const name = FIELD_AT[offset];
    if (name === undefined) return;
    const field = CommonConfig.fields[name];
    const at = offset - field.offset;
    const isHalf = isAddress(name) && at % 4 === 0 && data.length === 4;
    if (!isHalf && (at !== 0 || data.length !== field.size)) return;
    for (let done = 0; done < data.length; done += 4) {
      const value = wordOf(data, done);
      if (isAddress(name)) this.#writeAddress(name, (at + done) >> 2, value);
      else this.#writeField(name, value);
    }
  }

  get #selected(): QueueRegisters | undefined {
    return this.#queues[this.#queueSelect];
  }

  get #offeredFeatures(): bigint {
    return this.device.features() | TRANSPORT_FEATURES;
  }

  #addressWord(name: QueueAddress, half: number): number {
    return this.#selected?.addresses[QUEUE_ADDRESSES[name] + half] ?? 0;
  }

  #readField(name: Exclude<CommonField, QueueAddress>): number {
    const queue = this.#selected;
    switch (name) {
      case 'deviceFeatureSelect':
        return this.#deviceFeatureSelect;
      case 'deviceFeature':
        return featureWord(this.#offeredFeatures, this.#deviceFeatureSelect);
      case 'driverFeatureSelect':
        return this.#driverFeatureSelect;
      case 'driverFeature':
        return featureWord(this.#driverFeatures, this.#driverFeatureSelect);
      case 'msixConfig':
        return this.#interrupt.configVector;
      case 'numQueues':
        return this.#queues.length;
      case 'deviceStatus':
        return this.#status;
      case 'configGeneration':
        return (this.device.configGeneration ?? 0) & 0xff;
      case 'queueSelect':
        return this.#queueSelect;
      case 'queueSize':
        return queue?.config.size ?? 0;
      case 'queueMsixVector':
        return queue?.config.vector ?? NO_VECTOR;
      case 'queueEnable':
        return queue?.isEnabled ? 1 : 0;
      case 'queueNotifyOff':
        return queue === undefined ? 0 : this.#queueSelect;
    }
  }

  #writeField(name: Exclude<CommonField, QueueAddress>, value: number): void {
    const queue = this.#selected;
    switch (name) {
      case 'deviceFeatureSelect':
        this.#deviceFeatureSelect = value;
        break;
      case 'driverFeatureSelect':
        this.#driverFeatureSelect = value;
        break;
      case 'driverFeature':
        this.#writeDriverFeature(value);
        break;
      case 'msixConfig':
        this.#interrupt.configVector = this.#mapped(value);
        break;
      case 'deviceStatus':
        this.#writeStatus(value);
        break;
      case 'queueSelect':
        this.#queueSelect = value;
        break;
      case 'queueSize':
        // A bad size is refused when the queue is enabled, where the driver is told.
        if (queue !== undefined && !queue.isEnabled) queue.config.size = value;
        break;
      case 'queueMsixVector':
        if (queue !== undefined) queue.config.vector = this.#mapped(value);
        break;
      case 'queueEnable':
        if (queue !== undefined && value === 1) this.#enable(queue);
        break;
      default:
        // Read-only for the driver.
        break;
    }
  }

  #writeAddress(name: QueueAddress, half: number, value: number): void {
    const queue = this.#selected;
    if (queue !== undefined && !queue.isEnabled) queue.addresses[QUEUE_ADDRESSES[name] + half] = value;
  }

  /** §4.1.5.1.2.1: a vector that cannot be mapped reads back as NO_VECTOR. */
  #mapped(vector: number): number {
    return vector < this.#options.vectorCount ? vector : NO_VECTOR;
  }

  #writeDriverFeature(value: number): void {
    const select = this.#driverFeatureSelect;
    if ((this.#status & Status.FEATURES_OK) !== 0) return;
    const shift = BigInt(select) * 32n;
    // Bits from 64 on do not exist: taking one of them is remembered, so that FEATURES_OK is refused.
    const kept = select < 2 ? this.#driverFeatures & ~(0xffff_ffffn << shift) : this.#driverFeatures;
    const bits = select < 2 ? BigInt(value) << shift : value === 0 ? 0n : 1n << 64n;
    this.#driverFeatures = kept | bits;
  }

  #enable(queue: QueueRegisters): void {
    if (queue.isEnabled || this.#worker !== undefined) return;
    const fault = queue.enable(this.#options.memory);
    if (fault !== undefined) this.#needReset(`queue ${this.#queueSelect}: ${fault}: ${QUEUE_FAULTS[fault]}`);
  }

  /** The state machine of §2.1: bits are added one after the other, and only a reset takes them away. */
  #writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    if ((value & Status.FAILED) !== 0) this.#status |= Status.FAILED;
    for (const step of DRIVER_STEPS) {
      if ((this.#status & step) !== 0) continue;
      if ((value & step) === 0) return;
      if (step === Status.FEATURES_OK && !this.#acceptFeatures()) return;
      this.#status |= step;
      if (step === Status.DRIVER_OK) this.#activate();
    }
  }

  /** §2.2.2: the driver took only what is offered, and VERSION_1, without which this device cannot be driven. */
  #acceptFeatures(): boolean {
    const taken = this.#driverFeatures;
    if ((taken & ~this.#offeredFeatures) !== 0n || (taken & Feature.VERSION_1) === 0n) {
      this.#options.log.warn(`the driver's features 0x${taken.toString(16)} are refused`);
      return false;
    }
    this.device.ackFeatures(taken);
    return true;
  }

  #activate(): void {
    if ((this.#status & (Status.FAILED | Status.NEEDS_RESET)) !== 0) return;
    const { memory, queueEvents, workers } = this.#options;
    const queues = this.#queues.map(({ isEnabled, config }) =>
      isEnabled ? new Queue(memory, config, this.#driverFeatures) : undefined,
    );
    let worker: Worker | undefined;
    try {
      worker = this.device.activate(memory, this.#interrupt, queues, queueEvents);
      workers.add(worker);
      this.#worker = worker;
    } catch (error) {
      worker?.[Symbol.dispose]();
      if (!(error instanceof CodedError)) throw error;
      this.#needReset(`it could not be started: ${error.message}`);
    }
  }

  #stopWorker(): void {
    const worker = this.#worker;
    if (worker === undefined) return;
    this.#worker = undefined;
    this.#options.workers.remove(worker);
    worker[Symbol.dispose]();
  }

  #needReset(reason: string): void {
    this.#options.log.warn(`the driver has to reset the device: ${reason}`);
    this.#status |= Status.NEEDS_RESET;
    if ((this.#status & Status.DRIVER_OK) !== 0) this.#interrupt.signalConfigChanged();
  }
}

function isAddress(name: CommonField): name is QueueAddress {
  return name in QUEUE_ADDRESSES;
}

function featureWord(features: bigint, select: number): number {
  return select < 2 ? Number((features >> (BigInt(select) * 32n)) & 0xffff_ffffn) : 0;
}

/** Up to four bytes, little endian, unsigned. */
function wordOf(data: Uint8Array, offset: number): number {
  let value = 0;
  for (let index = Math.min(4, data.length - offset) - 1; index >= 0; index--)
    value = value * 256 + data[offset + index]!;
  return value % WORD;
}

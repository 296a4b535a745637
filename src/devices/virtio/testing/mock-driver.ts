import { Feature, Status } from '../constants.ts';
import type { QueueConfig } from '../queue/queue-config.ts';
import { BAR, CommonConfig, type CommonField } from '../transport/common-config.ts';

/** What a driver accesses: a transport, or a bus on the way to one. */
export interface RegisterAccess {
  read(offset: number, data: Uint8Array): void;
  write(offset: number, data: Uint8Array): void;
}

const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK } = Status;
const FIELDS = CommonConfig.fields;

/** A driver's accesses to the registers, by the names of the fields. */
export class MockDriver {
  readonly #registers: RegisterAccess;

  constructor(registers: RegisterAccess) {
    this.#registers = registers;
  }

  read(offset: number, size: number): number {
    const data = new Uint8Array(size).fill(0xcc);
    this.#registers.read(offset, data);
    return Number(`0x${Buffer.from(data).reverse().toString('hex')}`);
  }

  write(offset: number, size: number, value: number | bigint): void {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    this.#registers.write(offset, data.subarray(0, size));
  }

  get(name: CommonField): number {
    return this.read(FIELDS[name].offset, FIELDS[name].size);
  }

  set(name: CommonField, value: number | bigint): void {
    this.write(FIELDS[name].offset, FIELDS[name].size, value);
  }

  offeredFeatures(): bigint {
    return [0, 1].reduce((features, select) => {
      this.set('deviceFeatureSelect', select);
      return features | (BigInt(this.get('deviceFeature')) << BigInt(32 * select));
    }, 0n);
  }

  /** Steps 1 to 5 of §3.1.1; the caller looks whether FEATURES_OK stands. */
  negotiate(features: bigint = Feature.VERSION_1): void {
    this.set('deviceStatus', ACKNOWLEDGE);
    this.set('deviceStatus', ACKNOWLEDGE | DRIVER);
    for (const select of [0, 1]) {
      this.set('driverFeatureSelect', select);
      this.set('driverFeature', (features >> BigInt(32 * select)) & 0xffff_ffffn);
    }
    this.set('deviceStatus', ACKNOWLEDGE | DRIVER | FEATURES_OK);
  }

  enableQueue(index: number, config: QueueConfig): void {
    this.set('queueSelect', index);
    this.set('queueSize', config.size);
    this.set('queueMsixVector', config.vector);
    this.set('queueDesc', config.descriptorTable);
    this.set('queueDriver', config.availableRing);
    this.set('queueDevice', config.usedRing);
    this.set('queueEnable', 1);
  }

  /** The whole of §3.1.1, with the first queues of the device. */
  start(features: bigint, ...configs: readonly QueueConfig[]): void {
    this.negotiate(features);
    configs.forEach((config, index) => {
      this.enableQueue(index, config);
    });
    this.set('deviceStatus', ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  }

  reset(): void {
    this.set('deviceStatus', 0);
  }

  notify(queue: number): void {
    this.write(BAR.NOTIFY.offset + 4 * queue, 2, queue);
  }
}

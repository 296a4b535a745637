import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import type { Interrupt } from './interrupt.ts';
import type { Queue } from './queue/queue.ts';
import type { Worker } from './worker.ts';

/** One of each queue of the device, by its number; undefined where the driver has not enabled it. */
export type ActiveQueues = readonly (Queue | undefined)[];

/**
 * A virtio device without its transport. All calls come from one thread, that of the worker too. What the guest says never
 * throws: config accesses outside of the structure read as zeros and write nothing.
 */
export interface VirtioDevice {
  /** For messages, for example `block0`. */
  readonly name: string;
  /** Of DeviceType. */
  readonly deviceType: number;
  readonly queueMaxSizes: readonly number[];
  /** Another value whenever the device configuration has changed, VIRTIO 1.1 §2.4.1; 0 by default. */
  readonly configGeneration?: number;
  /** The device's own feature bits; the transport adds TRANSPORT_FEATURES. */
  features(): bigint;
  /** What the driver took of them and of the transport's. Once, before `activate`, and again after each `reset`. */
  ackFeatures(bits: bigint): void;
  /** Fills `data`, which is zeros, with the device configuration from `offset` on. */
  readConfig(offset: number, data: Uint8Array): void;
  writeConfig(offset: number, data: Uint8Array): void;
  /**
   * Starts work: the returned worker is turned whenever its descriptor is readable. `queueEvents` has an event for every queue,
   * enabled or not, and stays the transport's. Throws when the host refuses what the work needs.
   */
  activate(memory: GuestMemory, interrupt: Interrupt, queues: ActiveQueues, queueEvents: readonly EventFd[]): Worker;
  /** Goes back to the state before `ackFeatures`. The worker has been closed: no buffer of the guest is touched after that. */
  reset(): void;
  /** The machine ends: what the device holds back is written. The worker has been closed. May come twice. */
  close?(): void;
  /** Descriptors that the device's process needs besides those of `activate`. */
  keepFds(): readonly number[];
}

/** A kind of device as a value: what is known without making one. */
export interface VirtioDeviceKind<Resources, Device extends VirtioDevice = VirtioDevice> {
  /** In messages, file names and on the command line. */
  readonly name: string;
  readonly type: number;
  /** The sizes of the queues of a device that is made without options. */
  readonly queueSizes: readonly number[];
  /** The seccomp policy of the device's process, without its ending. */
  readonly policy: string;
  /** May throw: files are opened and checked before. */
  create(resources: Resources): Device;
}

/** Declares a kind of device; the type parameters follow from `create`. */
export function defineVirtioDevice<Resources, Device extends VirtioDevice>(
  kind: VirtioDeviceKind<Resources, Device>,
): VirtioDeviceKind<Resources, Device> {
  return Object.freeze(kind);
}

/** The usual `readConfig`: `image` is the configuration as bytes. */
export function readConfigBytes(image: Uint8Array, offset: number, data: Uint8Array): void {
  if (offset < image.length) data.set(image.subarray(offset, Math.min(image.length, offset + data.length)));
}

/** How a device reaches its driver; the transport decides what becomes of it (MSI-X, INTx or a line). */
export interface Interrupt {
  /** Buffers of the queue with this vector were used, VIRTIO 1.1 §2.6.7.2. Ask Queue.needsInterrupt first. */
  signalUsedQueue(vector: number): void;
  /** The device configuration has changed, §2.4. Change the device's `configGeneration` with it. */
  signalConfigChanged(): void;
  /** The driver did what the device can make nothing of: sets DEVICE_NEEDS_RESET and tells the driver, §2.1.2. */
  signalNeedsReset(reason: string): void;
}

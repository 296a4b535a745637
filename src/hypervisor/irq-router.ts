import type { Fd } from '#sys/fd.ts';

/**
 * Interrupts of devices in other processes: each signals an eventfd, and what that means is said here. Of the main thread, which never
 * sees the signals: the kernel or the vCPUs' threads pass them on.
 */
export interface IrqRouter extends Disposable {
  /** Signals of the eventfd, which it takes over, are an interrupt of the GSI. Throws SyscallError. */
  addIrqfd(gsi: number, irqfd: Fd): void;
  /**
   * Each signal of the eventfd, which it takes over, raises the GSI, one of the chips' pins with an edge trigger, and lets it go at
   * once. Several may share a GSI. Throws SyscallError.
   */
  addEdgeIrqfd(gsi: number, irqfd: Fd): void;
  /**
   * Signals of the eventfd assert the GSI, one of the chips' pins with a level trigger, until the guest ends the interrupt's service:
   * then the line is let go and `resample` is signalled, so that a device with something pending signals again. Several may share a
   * GSI. Takes both over. Before the VM is described to other threads. Throws SyscallError.
   */
  addLevelIrqfd(gsi: number, irqfd: Fd, resample: Fd): void;
  /** From now on the GSI, which is none of the chips' pins, sends this message. */
  setMsiRoute(gsi: number, address: number, data: number): void;
}

import type { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import type { IrqRouter } from '../irq-router.ts';
import { GSI_COUNT, type GsiRoutes, PIN_COUNT } from './gsi-routes.ts';
import type { KvmVmFd } from './kvm-vm-fd.ts';

/** Eventfds as KVM's irqfds: the kernel passes their signals on, and no thread of ours wakes for it. */
export class KvmIrqRouter implements IrqRouter {
  readonly #owned = new DisposableStack();
  readonly #vm: KvmVmFd;
  readonly #routes: GsiRoutes;

  constructor(vm: KvmVmFd, routes: GsiRoutes) {
    this.#vm = vm;
    this.#routes = routes;
  }

  addIrqfd(gsi: number, irqfd: Fd): void {
    assert(Number.isInteger(gsi) && gsi >= PIN_COUNT && gsi < GSI_COUNT, 'a GSI that is no pin');
    this.#vm.addIrqfd(gsi, this.#owned.use(irqfd).fd);
  }

  /** An irqfd without resample raises its pin and lets it go. */
  addEdgeIrqfd(gsi: number, irqfd: Fd): void {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < PIN_COUNT, 'a pin');
    this.#vm.addIrqfd(gsi, this.#owned.use(irqfd).fd);
  }

  addLevelIrqfd(gsi: number, irqfd: Fd, resample: Fd): void {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < PIN_COUNT, 'a pin');
    this.#vm.addIrqfd(gsi, this.#owned.use(irqfd).fd, this.#owned.use(resample).fd);
  }

  setMsiRoute(gsi: number, address: number, data: number): void {
    assert(gsi >= PIN_COUNT, 'a GSI that is no pin');
    this.#routes.set(gsi, address, data);
  }

  /** The irqfds go with the last descriptor of the VM, or of their eventfds, of which the kernel then hears. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

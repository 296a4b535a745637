import type { HasFd } from '#sys/fd.ts';

/** A guest-physical address or a port. */
export interface IoeventPlace {
  readonly space: 'memory' | 'io';
  readonly address: number;
}

/**
 * Where the hypervisor signals eventfds by itself: a write at such a place, of any size and value, reaches no bus. From any thread;
 * a vCPU that writes at the place meanwhile meets either.
 */
export interface IoeventWatcher {
  /** False when the hypervisor cannot; writes then reach the bus as others do. */
  watch(place: IoeventPlace, event: HasFd): boolean;
  /** Of what was watched; of what was not, nothing. */
  unwatch(place: IoeventPlace, event: HasFd): void;
}

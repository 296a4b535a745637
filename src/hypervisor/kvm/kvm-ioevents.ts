import type { HasFd } from '#sys/fd.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import type { IoeventPlace, IoeventWatcher } from '../ioevent-watcher.ts';
import type { KvmVmFd } from './kvm-vm-fd.ts';

/** EEXIST: something is watched there. ENOSPC: KVM has no room for more. E2BIG and EINVAL: no such place. */
const NOT_WATCHED: readonly number[] = [Errno.EEXIST, Errno.ENOSPC, Errno.E2BIG, Errno.EINVAL];
const ANY_SIZE = 0;

/** KVM's ioeventfds. They need KVM_CAP_IOEVENTFD_ANY_LENGTH. */
export class KvmIoevents implements IoeventWatcher {
  readonly #vm: KvmVmFd;

  constructor(vm: KvmVmFd) {
    this.#vm = vm;
  }

  watch(place: IoeventPlace, event: HasFd): boolean {
    return succeeds(NOT_WATCHED, () => this.#vm.addIoevent({ ...place, sizeBytes: ANY_SIZE }, event.fd));
  }

  unwatch(place: IoeventPlace, event: HasFd): void {
    succeeds([Errno.ENOENT], () => this.#vm.removeIoevent({ ...place, sizeBytes: ANY_SIZE }, event.fd));
  }
}

function succeeds(expected: readonly number[], call: () => void): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (error instanceof SyscallError && expected.includes(error.errno)) return false;
    throw error;
  }
}

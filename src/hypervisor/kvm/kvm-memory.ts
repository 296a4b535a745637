import type { GuestMemory } from '#memory/guest-memory.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { MapFlag, mmap, munmap, Prot } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { type MemoryRegion, MemoryRegionError } from '../memory-region.ts';
import type { KvmVmFd } from './kvm-vm-fd.ts';

interface MappedRegion {
  readonly hostAddress: number;
  readonly sizeBytes: number;
  readonly fd: Fd;
}

/** What a VM's guest has for memory: RAM in the first slots, and regions that come and go. */
export class KvmMemory implements Disposable {
  readonly #vm: KvmVmFd;
  readonly #slotsMax: number;
  readonly #firstSlot: number;
  readonly #regions = new Map<number, MappedRegion>();

  /** Gives the guest its RAM, which must stay mapped until the VM is gone. Throws SyscallError. */
  constructor(vm: KvmVmFd, memory: GuestMemory, slotsMax: number) {
    this.#vm = vm;
    this.#slotsMax = slotsMax;
    this.#firstSlot = memory.regions.length;
    for (const [slot, { guestAddress, sizeBytes }] of memory.regions.entries()) {
      vm.setMemory({ slot, guestAddress, sizeBytes, hostAddress: memory.hostAddress(guestAddress, sizeBytes) });
    }
  }

  /** Returns the slot. Throws MemoryRegionError (NO_ROOM), SyscallError. */
  add({ guestAddress, sizeBytes, fd, fileOffset, readOnly }: MemoryRegion): number {
    let slot = this.#firstSlot;
    while (this.#regions.has(slot)) slot++;
    if (slot >= this.#slotsMax) throw new MemoryRegionError('NO_ROOM', `all ${this.#slotsMax} memory slots are taken`);
    const prot = readOnly ? Prot.READ : Prot.READ | Prot.WRITE;
    const hostAddress = mmap({ fd, sizeBytes, offset: fileOffset, prot, flags: MapFlag.SHARED });
    try {
      this.#vm.setMemory({ slot, guestAddress, sizeBytes, hostAddress, readOnly });
      this.#regions.set(slot, { hostAddress, sizeBytes, fd: new Fd(dup(fd)) });
    } catch (error) {
      munmap(hostAddress, sizeBytes);
      throw error;
    }
    return slot;
  }

  /** The kernel returns when no vCPU has the region in any of its tables. Throws SyscallError. */
  remove(slot: number): void {
    const region = this.#regions.get(slot);
    assert(region !== undefined, 'a slot that is taken');
    this.#vm.removeMemory(slot);
    this.#regions.delete(slot);
    release(region);
  }

  /** For after the end of the vCPU threads. */
  [Symbol.dispose](): void {
    for (const region of this.#regions.values()) release(region);
    this.#regions.clear();
  }
}

function release({ hostAddress, sizeBytes, fd }: MappedRegion): void {
  munmap(hostAddress, sizeBytes);
  fd.close();
}

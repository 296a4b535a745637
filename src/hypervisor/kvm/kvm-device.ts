import { Fd, type HasFd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { ioctl, ioctlValue } from '#sys/ioctl.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import { KVM_API_VERSION, KvmCap, type KvmCapName, KvmIoctl } from './abi.ts';
import { Cpuid2, CpuidEntry2, MsrList } from './abi-structs.ts';
import type { CpuidEntry } from './cpuid.ts';
import { KvmError } from './kvm-error.ts';
import { KvmVmFd } from './kvm-vm-fd.ts';

const KVM_PATH = '/dev/kvm';
/** Entries of CPUID that no host comes near; the kernel refuses more than 256 (KVM_MAX_CPUID_ENTRIES). */
const CPUID_ENTRIES_MAX = 256;

/** /dev/kvm: what this host's KVM is able to do, and where VMs come from. */
export class KvmDevice implements HasFd, Disposable {
  readonly #fd: Fd;

  private constructor(fd: Fd) {
    this.#fd = fd;
  }

  /** Throws SyscallError when /dev/kvm does not open, KvmError (API_VERSION). */
  static open(): KvmDevice {
    const fd = Fd.open(KVM_PATH, OpenFlag.RDWR);
    try {
      const version = ioctlValue(fd.fd, KvmIoctl.GET_API_VERSION);
      if (version !== KVM_API_VERSION) {
        const wanted = `version ${KVM_API_VERSION}, which every Linux since 2.6.22 has, is needed`;
        throw new KvmError('API_VERSION', `${KVM_PATH} has version ${version} of the interface; ${wanted}`);
      }
      return new KvmDevice(fd);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#fd.fd;
  }

  /** What KVM_CHECK_EXTENSION says: 0 without the capability, else 1 or a figure of its own. */
  capability(name: KvmCapName): number {
    return ioctlValue(this.fd, KvmIoctl.CHECK_EXTENSION, KvmCap[name]);
  }

  /** Throws KvmError (NO_CAPABILITY) that names all that are missing. */
  require(names: readonly KvmCapName[]): void {
    const missing = names.filter((name) => this.capability(name) === 0);
    if (missing.length === 0) return;
    const list = missing.map((name) => `KVM_CAP_${name}`).join(', ');
    throw new KvmError(
      'NO_CAPABILITY',
      `this host's KVM lacks ${list}: use a newer kernel, or run with --hypervisor software`,
    );
  }

  /** The size of the memory that a vCPU shares with the kernel. */
  get runSizeBytes(): number {
    return ioctlValue(this.fd, KvmIoctl.GET_VCPU_MMAP_SIZE);
  }

  /** How many vCPUs a VM may have. */
  get vcpusMax(): number {
    return this.capability('MAX_VCPUS') || this.capability('NR_VCPUS') || 1;
  }

  /** What KVM and this processor can give a guest. */
  supportedCpuid(): CpuidEntry[] {
    const buffer = new Uint8Array(Cpuid2.size + CPUID_ENTRIES_MAX * CpuidEntry2.size);
    const view = viewOf(buffer);
    Cpuid2.fields.nent.set(view, 0, CPUID_ENTRIES_MAX);
    ioctl(this.fd, KvmIoctl.GET_SUPPORTED_CPUID, buffer);
    const count = Cpuid2.fields.nent.get(view, 0);
    return Array.from({ length: count }, (_, index) =>
      CpuidEntry2.decode(view, Cpuid2.size + index * CpuidEntry2.size),
    );
  }

  /** The model-specific registers that KVM keeps for a guest. */
  msrIndices(): number[] {
    const head = new Uint8Array(MsrList.size);
    // Too small for any list, which tells how long it is.
    const result = tryListLength(this.fd, head);
    const buffer = new Uint8Array(MsrList.size + result * Uint32Array.BYTES_PER_ELEMENT);
    const view = viewOf(buffer);
    MsrList.fields.nmsrs.set(view, 0, result);
    ioctl(this.fd, KvmIoctl.GET_MSR_INDEX_LIST, buffer);
    return Array.from({ length: result }, (_, index) => view.getUint32(MsrList.size + index * 4, true));
  }

  /** A new VM without memory or processors. Throws SyscallError. */
  createVm(): KvmVmFd {
    for (;;) {
      try {
        return new KvmVmFd(new Fd(ioctlValue(this.fd, KvmIoctl.CREATE_VM)));
      } catch (error) {
        // A signal that comes while the kernel sets things up.
        if (!(error instanceof SyscallError) || error.errno !== Errno.EINTR) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

function tryListLength(fd: number, head: Uint8Array): number {
  try {
    ioctl(fd, KvmIoctl.GET_MSR_INDEX_LIST, head);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.errno !== Errno.E2BIG) throw error;
  }
  return MsrList.fields.nmsrs.get(viewOf(head), 0);
}

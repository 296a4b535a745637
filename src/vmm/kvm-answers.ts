/** What /dev/kvm says of itself. Loaded where it opens: hosts without it need no FFI to choose. */
import { KVM_API_VERSION, KvmCap, KvmIoctl } from '#hypervisor/kvm/abi.ts';
import { REQUIRED_CAPABILITIES } from '#hypervisor/kvm/kvm-vm.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { ioctlValue } from '#sys/ioctl.ts';
import type { KvmAnswers } from './select-hypervisor.ts';

/** Throws SyscallError when the device does not open or answer. */
export function askKvm(): KvmAnswers {
  using device = Fd.open('/dev/kvm', OpenFlag.RDWR);
  const apiVersion = ioctlValue(device.fd, KvmIoctl.GET_API_VERSION);
  // What another version's numbers mean is not known.
  if (apiVersion !== KVM_API_VERSION) return { apiVersion, missingCapabilities: [], vcpusMax: 0 };
  const ask = (capability: number): number => ioctlValue(device.fd, KvmIoctl.CHECK_EXTENSION, capability);
  const missing = REQUIRED_CAPABILITIES.filter((name) => ask(KvmCap[name]) === 0);
  return {
    apiVersion,
    missingCapabilities: missing.map((name) => `KVM_CAP_${name}`),
    vcpusMax: ask(KvmCap.MAX_VCPUS) || ask(KvmCap.NR_VCPUS) || 1,
  };
}

import type { KvmVcpuFd } from './kvm-vcpu-fd.ts';
import type { KvmVmFd } from './kvm-vm-fd.ts';

/** IA32_TIME_STAMP_COUNTER, Intel SDM vol. 4 §2.1. */
const MSR_TSC = 0x10;

/** The paravirtual clock and the time-stamp counters, which stand still while the machine does. */
export class KvmClock {
  readonly #vm: KvmVmFd;
  readonly #vcpus: readonly KvmVcpuFd[];
  #stopped: { readonly clockNs: bigint; readonly tsc: bigint | undefined } | undefined;

  constructor(vm: KvmVmFd, vcpus: readonly KvmVcpuFd[]) {
    this.#vm = vm;
    this.#vcpus = vcpus;
  }

  /** While no vCPU runs. Throws SyscallError. */
  stop(): void {
    const clockNs = this.#vm.clockNs();
    this.#stopped = { clockNs, tsc: this.#vcpus[0]?.msrs([MSR_TSC])[0] };
  }

  /** One value for all processors: KVM takes values that are set within a second for those of counters that agree. */
  start(): void {
    const stopped = this.#stopped;
    if (stopped === undefined) return;
    this.#stopped = undefined;
    const { clockNs, tsc } = stopped;
    for (const vcpu of this.#vcpus) {
      if (tsc !== undefined) vcpu.setMsrs([{ index: MSR_TSC, value: tsc }]);
    }
    this.#vm.setClockNs(clockNs);
    for (const vcpu of this.#vcpus) vcpu.noteStopped();
  }
}

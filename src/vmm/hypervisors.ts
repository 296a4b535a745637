import { kvmHypervisor } from '#hypervisor/kvm/kvm-vm.ts';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import type { Hypervisor } from '#hypervisor/vm.ts';
import { assert } from '#util/assert.ts';

const HYPERVISORS: readonly Hypervisor[] = [softwareHypervisor, kvmHypervisor];

/** The hypervisor of this name, which is also the kind of its VMs' descriptions. */
export function hypervisorOf(name: string): Hypervisor {
  const found = HYPERVISORS.find((hypervisor) => hypervisor.name === name);
  assert(found !== undefined, `no hypervisor is named ${name}`);
  return found;
}

import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import type { Hypervisor } from '#hypervisor/vm.ts';
import { assert } from '#util/assert.ts';

const HYPERVISORS: readonly Hypervisor[] = [softwareHypervisor];

/** The hypervisor of this name, which is also the kind of its VMs' descriptions. */
export function hypervisorOf(name: string): Hypervisor {
  const found = HYPERVISORS.find((hypervisor) => hypervisor.name === name);
  assert(found !== undefined, `no hypervisor is named ${name}`);
  return found;
}

/** Loads what the vCPUs of every hypervisor are made of, for a vCPU's thread. */
export async function loadVcpus(): Promise<void> {
  for (const hypervisor of HYPERVISORS) await hypervisor.loadVcpus();
}

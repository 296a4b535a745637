/** Machines of KVM that start and stop: nothing is left of them. */
import { test } from 'node:test';
import { kvmHypervisor } from '#hypervisor/kvm/kvm-vm.ts';
import { startAndStop } from '../cycles.ts';
import { skip } from './small-vm.ts';

const MACHINES = 500;

test(`of ${MACHINES} machines of KVM in one process nothing is left`, { skip, timeout: 180_000 }, async (t) => {
  t.diagnostic(await startAndStop(kvmHypervisor, MACHINES));
});

/** What tests need of the host besides Node.js. */
import { spawnSync } from 'node:child_process';
import { hardwareFlag, kvmOpenError } from '#vmm/select-hypervisor.ts';
import { LAB_VARIABLE } from '../tools/kvm-lab/script.ts';

export { missingProgram } from '../tools/guest/host-programs.ts';

/** Why tests that make a tap interface in a network namespace of their own are skipped; false when that works. */
export function missingTap(): string | false {
  const probe = ['-n', 'ip', 'tuntap', 'add', 'dev', 'crosvm0', 'mode', 'tap', 'vnet_hdr'];
  const { status, error, stderr } = spawnSync('unshare', probe, { encoding: 'utf8' });
  return status === 0 ? false : `no tap can be made here: ${error?.message ?? stderr.trim()}`;
}

/** Whether this runs in the lab that `npm run test:kvm` boots, where whatever the tests of KVM need must be there. */
const IN_LAB = process.env[LAB_VARIABLE] === '1';

/** Why tests that make virtual machines by /dev/kvm are skipped; false when it opens, and in the lab. */
export function missingKvm(): string | false {
  if (IN_LAB) return false;
  const code = kvmOpenError();
  return code === undefined ? false : `/dev/kvm does not open here: ${code}`;
}

/** The same for tests that boot an unmodified kernel: it hangs where no hardware is behind the device. */
export function missingKvmHardware(): string | false {
  if (IN_LAB || hardwareFlag() !== undefined) return missingKvm();
  return missingKvm() || '/dev/kvm has no hardware behind it: the processor shows neither vmx nor svm';
}

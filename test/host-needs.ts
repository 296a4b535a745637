/** What tests need of the host besides Node.js. */
import { spawnSync } from 'node:child_process';

export { missingProgram } from '../tools/guest/host-programs.ts';

/** Why tests that make a tap interface in a network namespace of their own are skipped; false when that works. */
export function missingTap(): string | false {
  const probe = ['-n', 'ip', 'tuntap', 'add', 'dev', 'crosvm0', 'mode', 'tap', 'vnet_hdr'];
  const { status, error, stderr } = spawnSync('unshare', probe, { encoding: 'utf8' });
  return status === 0 ? false : `no tap can be made here: ${error?.message ?? stderr.trim()}`;
}

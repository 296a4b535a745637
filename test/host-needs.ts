/** What tests need of the host besides Node.js. */
import { spawnSync } from 'node:child_process';

const INSTALL_TIMEOUT_MS = 120_000;

/**
 * Why tests that need `program` are skipped; false when it is there. Root gets it from Debian's package, others are told of that. The
 * program must take `--version`.
 */
export function missingProgram(program: string, debianPackage: string): string | false {
  const isThere = (): boolean => spawnSync(program, ['--version']).error === undefined;
  if (isThere()) return false;
  if (process.getuid?.() !== 0) return `${program} is missing: apt-get install ${debianPackage}`;
  const failure = install(debianPackage);
  return isThere() ? false : `${program} is missing, and apt-get install ${debianPackage} failed: ${failure}`;
}

/** A fresh machine has no package lists, and old ones name packages that are gone. Returns what apt-get said last. */
function install(debianPackage: string): string {
  const apt = (...argv: string[]) =>
    spawnSync('apt-get', ['-qq', ...argv], {
      encoding: 'utf8',
      timeout: INSTALL_TIMEOUT_MS,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  const attempt = () => apt('install', '-y', '--no-install-recommends', debianPackage);
  let result = attempt();
  if (result.status !== 0) {
    apt('update');
    result = attempt();
  }
  return result.error?.message ?? result.stderr.trim().split('\n').at(-1) ?? '';
}

/** Why tests that make a tap interface in a network namespace of their own are skipped; false when that works. */
export function missingTap(): string | false {
  const probe = ['-n', 'ip', 'tuntap', 'add', 'dev', 'crosvm0', 'mode', 'tap', 'vnet_hdr'];
  const { status, error, stderr } = spawnSync('unshare', probe, { encoding: 'utf8' });
  return status === 0 ? false : `no tap can be made here: ${error?.message ?? stderr.trim()}`;
}

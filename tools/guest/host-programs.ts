/** Programs of the host that come from Debian packages of their own: root gets them by apt-get, others are told their names. */
import { spawnSync } from 'node:child_process';
import { GuestFilesError, type Progress } from './guest-error.ts';

/** QEMU with what it needs is 300 MB unpacked. */
const INSTALL_TIMEOUT_MS = 300_000;

/** Where programs for the administrator are, which is not in the search path of every user. */
const ADMINISTRATOR_PATH = '/usr/local/sbin:/usr/sbin:/sbin';

/** The search path with the administrator's programs behind it. */
export function searchPath(): string {
  return `${process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}:${ADMINISTRATOR_PATH}`;
}

/** The program must end when it is asked for `--version`. */
function isThere(program: string): boolean {
  return spawnSync(program, ['--version'], { env: { ...process.env, PATH: searchPath() } }).error === undefined;
}

/** Why `program` cannot be had; false when it is there. Root gets it from Debian's package, others are told of that. */
export function missingProgram(program: string, debianPackage: string, progress?: Progress): string | false {
  if (isThere(program)) return false;
  if (process.getuid?.() !== 0) return `${program} is missing: apt-get install ${debianPackage}`;
  progress?.(`installing ${debianPackage} (apt-get install)`);
  const failure = install(debianPackage);
  return isThere(program) ? false : `${program} is missing, and apt-get install ${debianPackage} failed: ${failure}`;
}

/** As `missingProgram`, for what nothing goes on without. Throws a GuestFilesError. */
export function needProgram(program: string, debianPackage: string, progress: Progress): void {
  const reason = missingProgram(program, debianPackage, progress);
  if (reason !== false) throw new GuestFilesError(reason, { missingProgram: true });
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

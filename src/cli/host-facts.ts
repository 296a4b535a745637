/** Looks at this host for `crosvm doctor`. Nothing is changed; what fails is a finding, not an error. */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { errorMessage } from '#util/errors.ts';
import { packageFile } from '#util/package-files.ts';
import { hypervisorFacts } from '#vmm/select-hypervisor.ts';
import type { Attempt, HostFacts } from './diagnosis.ts';

/** The calls that need the FFI, loaded only when it loads. */
type SystemCalls = typeof import('./doctor-calls.ts');

/** _IO(0xae, 0x00), linux/kvm.h. */
const KVM_GET_API_VERSION = 0xae00;

export async function gatherHostFacts(): Promise<HostFacts> {
  let calls: SystemCalls | undefined;
  let ffi: Attempt;
  try {
    calls = await import('./doctor-calls.ts');
    ffi = { worked: true, value: 'koffi loads' };
  } catch (error) {
    ffi = { worked: false, error: `koffi does not load: ${errorMessage(error).split('\n', 1)[0]}` };
  }
  const hypervisor = hypervisorFacts();
  return {
    node: process.versions.node,
    requiredNodeMajor: requiredNodeMajor(),
    platform: process.platform,
    arch: process.arch,
    ffi,
    memfd: attempt(() => memfdWorks(needed(calls))),
    hypervisor,
    kvmApi: hypervisor.kvmDevice.opens ? attempt(() => kvmApiVersion(needed(calls))) : undefined,
    root: process.geteuid?.() === 0,
    proc: {
      userNamespaceLink: existsSync('/proc/self/ns/user'),
      unprivilegedUsernsClone: textOf('/proc/sys/kernel/unprivileged_userns_clone'),
      maxUserNamespaces: textOf('/proc/sys/user/max_user_namespaces'),
      apparmorRestrictUserns: textOf('/proc/sys/kernel/apparmor_restrict_unprivileged_userns'),
      seccompActions: textOf('/proc/sys/kernel/seccomp/actions_avail'),
    },
    stty: attempt(sttyWorks),
  };
}

function attempt(work: () => string): Attempt {
  try {
    return { worked: true, value: work() };
  } catch (error) {
    return { worked: false, error: errorMessage(error) };
  }
}

function needed(calls: SystemCalls | undefined): SystemCalls {
  if (calls === undefined) throw new Error('not tried without the FFI');
  return calls;
}

function memfdWorks(calls: SystemCalls): string {
  closeSync(calls.sealableMemfd());
  return 'memfd with seals';
}

function kvmApiVersion(calls: SystemCalls): string {
  const fd = openSync('/dev/kvm', constants.O_RDWR);
  try {
    return String(calls.ioctlResult(fd, KVM_GET_API_VERSION));
  } finally {
    closeSync(fd);
  }
}

/** The lowest major version in the `engines` of package.json, written `>=24`. */
function requiredNodeMajor(): number {
  const text = readFileSync(packageFile('package.json'), 'utf8');
  const { engines } = JSON.parse(text) as { engines: { node: string } };
  return Number.parseInt(engines.node.replace(/^\D+/, ''), 10);
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // Absent and unreadable mean the same here: this kernel does not tell.
    return undefined;
  }
}

function sttyWorks(): string {
  const { error } = spawnSync('stty', ['--version'], { stdio: 'ignore' });
  if (error !== undefined) throw error;
  return 'stty is there to restore the terminal after a crash';
}

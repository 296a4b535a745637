/** Looks at this host for `crosvm doctor`. Nothing is changed; what fails is a finding, not an error. */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, readFileSync } from 'node:fs';
import { hostClock } from '#util/clock.ts';
import { errorMessage } from '#util/errors.ts';
import { packageFile } from '#util/package-files.ts';
import { type HypervisorName, hypervisorFacts } from '#vmm/select-hypervisor.ts';
import type { Attempt, HostFacts } from './diagnosis.ts';

/** The calls that need the FFI, loaded only when it loads. */
type SystemCalls = typeof import('./doctor-calls.ts');

export async function gatherHostFacts(): Promise<HostFacts> {
  let calls: SystemCalls | undefined;
  let ffi: Attempt;
  try {
    calls = await import('./doctor-calls.ts');
    ffi = { worked: true, value: 'koffi loads' };
  } catch (error) {
    ffi = { worked: false, error: `koffi does not load: ${errorMessage(error).split('\n', 1)[0]}` };
  }
  const hypervisor = await hypervisorFacts();
  return {
    node: process.versions.node,
    requiredNodeMajor: requiredNodeMajor(),
    platform: process.platform,
    arch: process.arch,
    ffi,
    memfd: attempt(() => memfdWorks(needed(calls))),
    hypervisor,
    guests: {
      software: await guestOn('software'),
      kvm: hypervisor.kvmDevice.opens ? await guestOn('kvm') : undefined,
    },
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

/** Loads the hypervisors, which need the FFI. */
async function guestOn(name: HypervisorName): Promise<Attempt> {
  try {
    const { hypervisorOf } = await import('#vmm/hypervisors.ts');
    const { runTinyGuest } = await import('#vmm/tiny-guest.ts');
    const startedNs = hostClock.nowNs();
    const problem = await runTinyGuest(hypervisorOf(name), hostClock);
    if (problem !== undefined) return { worked: false, error: problem };
    return { worked: true, value: `${Math.ceil((hostClock.nowNs() - startedNs) / 1e6)} ms` };
  } catch (error) {
    return { worked: false, error: errorMessage(error).split('\n', 1)[0] ?? '' };
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

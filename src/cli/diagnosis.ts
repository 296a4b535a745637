/** What `crosvm doctor` concludes from what it found; nothing here looks at the host. */
import { type HypervisorFacts, NEEDED_API_VERSION, selectHypervisor } from '#vmm/select-hypervisor.ts';

/** `ok`: as it should be. `note`: works, with the restriction that is named. `fail`: no machine can run. */
export type Status = 'ok' | 'note' | 'fail';

export interface Finding {
  readonly name: string;
  readonly status: Status;
  readonly detail: string;
}

export interface Diagnosis {
  readonly findings: readonly Finding[];
  /** What `--hypervisor auto` takes, and why. */
  readonly hypervisor: { readonly name: string; readonly reason: string };
  /** Whether `crosvm run` can work here. */
  readonly usable: boolean;
}

/** The result of trying something: its version or value, or the error's text. */
export type Attempt =
  | { readonly worked: true; readonly value: string }
  | { readonly worked: false; readonly error: string };

/** Contents of files under /proc; undefined where there is no such file. */
export interface ProcFiles {
  /** Whether this process may be in a user namespace: /proc/self/ns/user exists. */
  readonly userNamespaceLink: boolean;
  /** Debian's and Ubuntu's own switch: '0' forbids them to ordinary users. */
  readonly unprivilegedUsernsClone: string | undefined;
  readonly maxUserNamespaces: string | undefined;
  /** Ubuntu: '1' takes the capabilities in a namespace away from programs without an AppArmor profile. */
  readonly apparmorRestrictUserns: string | undefined;
  readonly seccompActions: string | undefined;
}

export interface HostFacts {
  readonly node: string;
  /** The lowest major version that package.json allows. */
  readonly requiredNodeMajor: number;
  readonly platform: string;
  readonly arch: string;
  readonly ffi: Attempt;
  readonly memfd: Attempt;
  readonly hypervisor: HypervisorFacts;
  /** A tiny guest of each hypervisor that there is: how long it took, or why it did not run. */
  readonly guests: { readonly software: Attempt; readonly kvm: Attempt | undefined };
  readonly root: boolean;
  readonly proc: ProcFiles;
  /** `stty -g` and `sh` are what restores the terminal after a crash. */
  readonly stty: Attempt;
}

/** The seccomp actions that device jails are built from, seccomp(2). */
const NEEDED_SECCOMP_ACTIONS = ['kill_process', 'allow', 'errno', 'trap', 'log'];

export function diagnose(facts: HostFacts): Diagnosis {
  const findings = [
    node(facts),
    platform(facts),
    ffi(facts),
    memfd(facts),
    kvmDevice(facts),
    hardware(facts),
    ...guests(facts),
    userNamespaces(facts),
    seccomp(facts),
    terminal(facts),
  ];
  const decision = selectHypervisor('auto', facts.hypervisor);
  const hypervisor =
    'hypervisor' in decision
      ? { name: decision.hypervisor, reason: decision.reason }
      : { name: 'none', reason: decision.obstacle };
  return { findings, hypervisor, usable: findings.every(({ status }) => status !== 'fail') };
}

function node({ node, requiredNodeMajor }: HostFacts): Finding {
  const enough = Number.parseInt(node, 10) >= requiredNodeMajor;
  const detail = enough ? node : `${node}; version ${requiredNodeMajor} or later is needed`;
  return { name: 'Node.js', status: enough ? 'ok' : 'fail', detail };
}

function platform({ platform, arch }: HostFacts): Finding {
  const supported = platform === 'linux' && arch === 'x64';
  const detail = `${platform} ${arch}${supported ? '' : '; only linux x64 is supported'}`;
  return { name: 'system', status: supported ? 'ok' : 'fail', detail };
}

function ffi({ ffi }: HostFacts): Finding {
  return ffi.worked
    ? { name: 'system calls', status: 'ok', detail: ffi.value }
    : { name: 'system calls', status: 'fail', detail: ffi.error };
}

function memfd({ memfd }: HostFacts): Finding {
  return memfd.worked
    ? { name: 'guest memory', status: 'ok', detail: memfd.value }
    : { name: 'guest memory', status: 'fail', detail: memfd.error };
}

function kvmDevice({ hypervisor: { kvmDevice } }: HostFacts): Finding {
  const name = '/dev/kvm';
  if (!kvmDevice.opens) {
    const absent = kvmDevice.code === 'ENOENT';
    return { name, status: 'note', detail: absent ? 'does not exist' : `does not open: ${kvmDevice.code}` };
  }
  const { answers } = kvmDevice;
  if ('error' in answers) return { name, status: 'note', detail: `opens, and does not answer: ${answers.error}` };
  const { apiVersion, missingCapabilities, vcpusMax } = answers;
  const opens = `opens, API version ${apiVersion}`;
  if (apiVersion !== NEEDED_API_VERSION) {
    return { name, status: 'note', detail: `${opens}; ${NEEDED_API_VERSION} is needed` };
  }
  if (missingCapabilities.length > 0) {
    return { name, status: 'note', detail: `${opens}; without ${missingCapabilities.join(', ')}` };
  }
  return { name, status: 'ok', detail: `${opens}, up to ${vcpusMax} vCPUs` };
}

function hardware({ hypervisor }: HostFacts): Finding {
  const name = 'virtualization hardware';
  const { hardware, kvmDevice } = hypervisor;
  if (hardware !== undefined) return { name, status: 'ok', detail: hardware };
  const consequence = kvmDevice.opens ? '; an unmodified kernel hangs under this /dev/kvm' : '';
  return { name, status: 'note', detail: `the processor shows neither vmx nor svm${consequence}` };
}

/** On KVM one may run where an unmodified kernel does not. */
function guests({ guests: { software, kvm } }: HostFacts): Finding[] {
  const finding = (name: string, attempt: Attempt, failure: Status): Finding =>
    attempt.worked
      ? { name, status: 'ok', detail: `a dozen instructions ran, ${attempt.value}` }
      : { name, status: failure, detail: attempt.error };
  return [
    finding('a guest on software', software, 'fail'),
    ...(kvm === undefined ? [] : [finding('a guest on kvm', kvm, 'note')]),
  ];
}

function userNamespaces({ proc, root }: HostFacts): Finding {
  const name = 'user namespaces';
  const isOff = (text: string | undefined) => text?.trim() === '0';
  if (!proc.userNamespaceLink) return { name, status: 'note', detail: 'not in this kernel' };
  if (isOff(proc.maxUserNamespaces)) return { name, status: 'note', detail: 'off: user.max_user_namespaces is 0' };
  const restrictions: string[] = [];
  if (isOff(proc.unprivilegedUsernsClone)) restrictions.push('kernel.unprivileged_userns_clone is 0');
  if (proc.apparmorRestrictUserns?.trim() === '1') {
    restrictions.push('kernel.apparmor_restrict_unprivileged_userns is 1');
  }
  if (restrictions.length === 0) return { name, status: 'ok', detail: 'available' };
  return root
    ? { name, status: 'ok', detail: `available to root (${restrictions.join(', ')})` }
    : { name, status: 'note', detail: `not for ordinary users: ${restrictions.join(', ')}` };
}

function seccomp({ proc }: HostFacts): Finding {
  const name = 'seccomp filters';
  if (proc.seccompActions === undefined) return { name, status: 'note', detail: 'not in this kernel' };
  const actions = proc.seccompActions.trim().split(/\s+/);
  const missing = NEEDED_SECCOMP_ACTIONS.filter((action) => !actions.includes(action));
  if (missing.length > 0) return { name, status: 'note', detail: `without ${missing.join(', ')}` };
  return { name, status: 'ok', detail: 'available' };
}

function terminal({ stty }: HostFacts): Finding {
  const name = 'terminal guard';
  return stty.worked
    ? { name, status: 'ok', detail: stty.value }
    : { name, status: 'note', detail: `after a crash the terminal stays raw: ${stty.error}` };
}

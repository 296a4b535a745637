import type { JailStep } from './jail-error.ts';

const IN_A_CONTAINER = 'in a container, start it with a seccomp profile and capabilities that allow this';
const NAMESPACE =
  'run as root with CAP_SYS_ADMIN, or let ordinary users have namespaces: on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0 or ' +
  `an AppArmor profile with "userns"; ${IN_A_CONTAINER}`;
const KERNEL_BUG = 'no host is known that refuses this; please report it with the output of "crosvm doctor"';

/** What the user can do about a step of a jail that the host refuses. */
export const REMEDIES: Readonly<Record<JailStep, string>> = {
  descriptors: 'raise the limit of open files (ulimit -n), and see that /dev/null is there',
  'user change': 'root needs CAP_SETUID and CAP_SETGID to become nobody: start it with them, or as an ordinary user',
  'user namespace': `set user.max_user_namespaces above 0, on older Debian kernel.unprivileged_userns_clone=1; ${IN_A_CONTAINER}`,
  'id maps': 'map only the own id, or run as root with CAP_SETUID and CAP_SETGID',
  'pid namespace': NAMESPACE,
  'mount namespace': NAMESPACE,
  'net namespace': NAMESPACE,
  'ipc namespace': NAMESPACE,
  'uts namespace': NAMESPACE,
  'cgroup namespace': NAMESPACE,
  preparation: KERNEL_BUG,
  'empty root': `let mount and pivot_root work: ${NAMESPACE}`,
  'shared folder as root': `use Linux 5.12 or newer, and let mount and pivot_root work: ${NAMESPACE}`,
  'host name': NAMESPACE,
  capabilities: NAMESPACE,
  limits: KERNEL_BUG,
  'no new privileges': KERNEL_BUG,
  'death of the parent': KERNEL_BUG,
  'seccomp filter': `use a kernel with CONFIG_SECCOMP_FILTER; ${IN_A_CONTAINER}`,
};

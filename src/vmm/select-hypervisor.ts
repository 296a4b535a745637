import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import type { HypervisorWish } from './config.ts';

export type HypervisorName = Exclude<HypervisorWish, 'auto'>;

/** The processor feature that lets KVM run an unmodified kernel: VT-x or AMD-V. */
export type VirtualizationFlag = 'vmx' | 'svm';

export interface HypervisorFacts {
  /** Whether /dev/kvm opens for reading and writing, else the error's code (ENOENT, EACCES …). */
  readonly kvmDevice: { readonly opens: true } | { readonly opens: false; readonly code: string };
  /** Undefined when the processor shows neither; /dev/kvm then runs only paravirtual guests, and a real kernel hangs. */
  readonly hardware: VirtualizationFlag | undefined;
}

export interface HypervisorChoice {
  readonly hypervisor: HypervisorName;
  /** Why, in a few words, for the line on stderr. */
  readonly reason: string;
}

/** Seen in QEMU with SVM: machines on KVM that crash or hang while they start. */
const KVM_IS_NOT_PROVEN = 'KVM is here, but not proven yet: --hypervisor kvm tries it';

/** The answer to the user's wish, or what on this host keeps it from being granted. */
export type HypervisorDecision = HypervisorChoice | { readonly obstacle: string };

export function selectHypervisor(wish: HypervisorWish, facts: HypervisorFacts): HypervisorDecision {
  if (wish === 'software') return { hypervisor: 'software', reason: 'asked for with --hypervisor software' };
  const obstacle = kvmObstacle(facts);
  if (wish === 'auto') {
    if (obstacle !== undefined) return { hypervisor: 'software', reason: obstacle };
    return { hypervisor: 'software', reason: KVM_IS_NOT_PROVEN };
  }
  if (obstacle !== undefined) return { obstacle };
  return { hypervisor: 'kvm', reason: 'asked for with --hypervisor kvm' };
}

/** What on this host keeps KVM from running an unmodified kernel. */
function kvmObstacle({ kvmDevice, hardware }: HypervisorFacts): string | undefined {
  if (!kvmDevice.opens) {
    if (kvmDevice.code === 'ENOENT') return 'no /dev/kvm';
    if (kvmDevice.code === 'EACCES' || kvmDevice.code === 'EPERM') return 'no permission to open /dev/kvm';
    return `/dev/kvm does not open: ${kvmDevice.code}`;
  }
  if (hardware === undefined) return '/dev/kvm has no hardware behind it: the processor shows neither vmx nor svm';
  return undefined;
}

/** Looks at this host. Throws nothing: what cannot be read counts as absent. */
export function hypervisorFacts(): HypervisorFacts {
  return { kvmDevice: tryOpenKvm(), hardware: virtualizationFlag(readCpuInfo()) };
}

function tryOpenKvm(): HypervisorFacts['kvmDevice'] {
  try {
    closeSync(openSync('/dev/kvm', constants.O_RDWR));
    return { opens: true };
  } catch (error) {
    return { opens: false, code: (error as NodeJS.ErrnoException).code ?? 'unknown error' };
  }
}

function readCpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'latin1');
  } catch {
    // Without /proc nothing shows the flags; that is the same as not having them.
    return '';
  }
}

/** The flag in the text of /proc/cpuinfo: its `flags` lines list the processor's features, proc(5). */
export function virtualizationFlag(cpuInfo: string): VirtualizationFlag | undefined {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(cpuInfo)?.[1]?.split(' '));
  if (flags.has('vmx')) return 'vmx';
  return flags.has('svm') ? 'svm' : undefined;
}

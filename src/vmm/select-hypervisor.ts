import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { errorMessage } from '#util/errors.ts';
import type { HypervisorWish } from './config.ts';

export type HypervisorName = Exclude<HypervisorWish, 'auto'>;

/** The processor feature that lets KVM run an unmodified kernel: VT-x or AMD-V. */
export type VirtualizationFlag = 'vmx' | 'svm';

/** The only version of KVM's interface there has been since 2007; its documentation says to refuse any other. */
export const NEEDED_API_VERSION = 12;

export interface KvmAnswers {
  readonly apiVersion: number;
  /** Names of those of the needed capabilities that are not there. */
  readonly missingCapabilities: readonly string[];
  /** How many vCPUs a machine may have. */
  readonly vcpusMax: number;
}

/** /dev/kvm: the error's code (ENOENT, EACCES …) where it does not open for reading and writing, else what it answers, or why it does not. */
export type KvmDeviceFacts =
  | { readonly opens: false; readonly code: string }
  | { readonly opens: true; readonly answers: KvmAnswers | { readonly error: string } };

export interface HypervisorFacts {
  readonly kvmDevice: KvmDeviceFacts;
  /** Undefined when the processor shows neither; /dev/kvm then runs only paravirtual guests, and a real kernel hangs. */
  readonly hardware: VirtualizationFlag | undefined;
}

export interface HypervisorChoice {
  readonly hypervisor: HypervisorName;
  /** Why, in a few words, for the line on stderr. */
  readonly reason: string;
}

/** The answer to the user's wish, or what on this host keeps it from being granted. */
export type HypervisorDecision = HypervisorChoice | { readonly obstacle: string };

export function selectHypervisor(wish: HypervisorWish, facts: HypervisorFacts): HypervisorDecision {
  if (wish === 'software') return { hypervisor: 'software', reason: 'asked for with --hypervisor software' };
  const obstacle = kvmObstacle(facts);
  if (wish === 'auto') {
    if (obstacle !== undefined) return { hypervisor: 'software', reason: obstacle };
    return { hypervisor: 'kvm', reason: `/dev/kvm opens and the processor has ${facts.hardware}` };
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
  const { answers } = kvmDevice;
  if ('error' in answers) return `/dev/kvm does not answer: ${answers.error}`;
  const { apiVersion, missingCapabilities } = answers;
  if (apiVersion !== NEEDED_API_VERSION) {
    return `/dev/kvm has version ${apiVersion} of the interface; ${NEEDED_API_VERSION} is needed`;
  }
  if (missingCapabilities.length > 0) return `KVM is without ${missingCapabilities.join(', ')}`;
  if (hardware === undefined) return '/dev/kvm has no hardware behind it: the processor shows neither vmx nor svm';
  return undefined;
}

/** Looks at this host. Rejects for nothing: what cannot be read counts as absent. */
export async function hypervisorFacts(): Promise<HypervisorFacts> {
  return { kvmDevice: await kvmDeviceFacts(), hardware: hardwareFlag() };
}

/** The processor's flag, if it has one. */
export function hardwareFlag(): VirtualizationFlag | undefined {
  return virtualizationFlag(readCpuInfo());
}

async function kvmDeviceFacts(): Promise<KvmDeviceFacts> {
  const code = kvmOpenError();
  if (code !== undefined) return { opens: false, code };
  try {
    const { askKvm } = await import('./kvm-answers.ts');
    return { opens: true, answers: askKvm() };
  } catch (error) {
    return { opens: true, answers: { error: errorMessage(error) } };
  }
}

/** The code of the error with which /dev/kvm does not open for reading and writing. */
export function kvmOpenError(): string | undefined {
  try {
    closeSync(openSync('/dev/kvm', constants.O_RDWR));
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
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

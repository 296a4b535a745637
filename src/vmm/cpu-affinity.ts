import { HOST_CPUS_MAX, possibleAffinity } from '#sys/scheduling.ts';
import type { Mistake } from './config.ts';

/** On which of the host's processors the threads of vCPUs run. */
export interface CpuAffinity {
  /** The number of the vCPU; undefined for all. */
  readonly vcpu?: number;
  readonly hostCpus: readonly number[];
}

const OPTION = '--cpu-affinity';

/** The host's processors for a vCPU; undefined where it may run on all. */
export function hostCpusOf(affinities: readonly CpuAffinity[], vcpu: number): readonly number[] | undefined {
  return affinities.find((each) => each.vcpu === undefined || each.vcpu === vcpu)?.hostCpus;
}

/** Without a look at the host. */
export function affinityMistakes(affinities: readonly CpuAffinity[], vcpuCount: number): Mistake[] {
  const mistakes: Mistake[] = [];
  const named = affinities.flatMap(({ vcpu }) => (vcpu === undefined ? [] : [vcpu]));
  for (const vcpu of new Set(named)) {
    if (vcpu >= vcpuCount) {
      mistakes.push({ option: OPTION, message: `there is no vCPU ${vcpu}: the machine has ${vcpuCount}, from 0 on` });
    } else if (named.filter((other) => other === vcpu).length > 1) {
      mistakes.push({ option: OPTION, message: `vCPU ${vcpu} is given twice` });
    }
  }
  if (affinities.some(({ hostCpus }) => hostCpus.length === 0)) {
    mistakes.push({ option: OPTION, message: 'names no processor of the host' });
  }
  return mistakes;
}

/** What the host says to it: each vCPU must have at least one processor that this process may use. */
export function hostAffinityMistakes(affinities: readonly CpuAffinity[]): Mistake[] {
  if (affinities.length === 0) return [];
  const allowed = new Set(possibleAffinity());
  return affinities
    .filter(({ hostCpus }) => !hostCpus.some((cpu) => allowed.has(cpu)))
    .map(({ hostCpus }) => ({
      option: OPTION,
      message: `this process may use none of the host's processors ${hostCpus.join(',')}, only ${[...allowed].join(',')}`,
    }));
}

/** The numbers of a text such as `0,1-3,5`, in order and once each; or what is wrong with it. */
export function parseCpuSet(text: string): readonly number[] | string {
  const cpus = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^([0-9]{1,4})(?:-([0-9]{1,4}))?$/.exec(part);
    if (match === null) return 'must be processors and ranges of them, such as 0,1-3,5';
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first) return `the range ${part} is empty`;
    if (last >= HOST_CPUS_MAX) return `processors are numbered below ${HOST_CPUS_MAX}`;
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].toSorted((a, b) => a - b);
}

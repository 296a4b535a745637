import { type CpuAffinity, parseCpuSet } from '#vmm/cpu-affinity.ts';

export interface ParsedCpuAffinity {
  readonly affinities: readonly CpuAffinity[];
  readonly problems: readonly string[];
}

/** A set of the host's processors for all vCPUs, `0,1-3`, or one for each that is named, `0=0:1=1-3`, as crosvm has them. */
export function parseCpuAffinity(text: string): ParsedCpuAffinity {
  const affinities: CpuAffinity[] = [];
  const problems: string[] = [];
  for (const part of text.includes('=') ? text.split(':') : [text]) {
    const named = /^([0-9]{1,4})=(.*)$/.exec(part);
    if (text.includes('=') && named === null) {
      problems.push('must be VCPU=SET, with a colon between two');
      continue;
    }
    const hostCpus = parseCpuSet(named?.[2] ?? part);
    if (typeof hostCpus === 'string') problems.push(hostCpus);
    else affinities.push({ ...(named !== null && { vcpu: Number(named[1]) }), hostCpus });
  }
  return { affinities, problems };
}

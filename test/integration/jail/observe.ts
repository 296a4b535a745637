/** What /proc says of a process. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface View {
  /** Fields of /proc/PID/status. */
  readonly status: Readonly<Record<string, string>>;
  /** Links in /proc/PID/ns. */
  readonly namespaces: Readonly<Record<string, string>>;
  /** Open descriptors, by what they lead to. */
  readonly fds: Readonly<Record<string, string>>;
  readonly rootEntries: readonly string[];
  /** Lines of /proc/PID/mountinfo. */
  readonly mounts: readonly string[];
  readonly limits: string;
}

export function statusOf(pid: number | string): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2) as [string, string]));
}

export function linksIn(folder: string): Record<string, string> {
  const links: [string, string][] = [];
  for (const name of readdirSync(folder)) {
    try {
      links.push([name, readlinkSync(`${folder}/${name}`)]);
    } catch {
      // The descriptor of the listing itself.
    }
  }
  return Object.fromEntries(links);
}

export function viewOf(pid: number | string): View {
  return {
    status: statusOf(pid),
    namespaces: linksIn(`/proc/${pid}/ns`),
    fds: linksIn(`/proc/${pid}/fd`),
    rootEntries: readdirSync(`/proc/${pid}/root/`),
    mounts: readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n'),
    limits: readFileSync(`/proc/${pid}/limits`, 'utf8'),
  };
}

export function childrenOf(pid: number): number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return list.split(' ').filter(Boolean).map(Number);
}

/** The children of all threads of a process. */
export function childrenOfThreads(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

/** Whether a process runs: one that has ended and was not waited for does not. */
export function runs(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

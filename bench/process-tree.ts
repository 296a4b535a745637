/** Memory of a process and all below it, from /proc (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs';

const SAMPLE_INTERVAL_MS = 50;

/**
 * Peak resident memory of a tree of processes: the sum of each one's own high-water mark (VmHWM), also of those that have
 * ended. Memory that two of them share counts for both.
 */
export class PeakMemory implements Disposable {
  readonly #root: number;
  readonly #peaksKib = new Map<number, number>();
  readonly #timer: NodeJS.Timeout;

  constructor(rootPid: number) {
    this.#root = rootPid;
    this.#timer = setInterval(() => this.#sample(this.#root), SAMPLE_INTERVAL_MS);
  }

  get kib(): number {
    return [...this.#peaksKib.values()].reduce((sum, peak) => sum + peak, 0);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(pid: number): void {
    const status = readProcess(() => readFileSync(`/proc/${pid}/status`, 'utf8'));
    const peak = /^VmHWM:\s+(\d+) kB/m.exec(status ?? '')?.[1];
    if (peak !== undefined) this.#peaksKib.set(pid, Number(peak));
    for (const child of children(pid)) this.#sample(child);
  }
}

/** A process and all below it. */
export function withChildren(pid: number): number[] {
  return [pid, ...children(pid).flatMap(withChildren)];
}

export interface Memory {
  /** Its own memory and its share of what it has in common with others, proc(5). */
  readonly pssKib: number;
  readonly privateDirtyKib: number;
}

/** Throws when the process has ended. */
export function memoryOf(pid: number): Memory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? 0);
  return { pssKib: kib('Pss'), privateDirtyKib: kib('Private_Dirty') };
}

/** Any thread may have made a child. */
function children(pid: number): number[] {
  const threads = readProcess(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  const lists = threads.map((thread) =>
    readProcess(() => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')),
  );
  return lists.flatMap((list) => (list ?? '').split(' ').filter(Boolean).map(Number));
}

/** A process may end between two looks at it. */
function readProcess<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOENT' && code !== 'ESRCH') throw error;
    return undefined;
  }
}

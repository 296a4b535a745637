import { Worker, type WorkerOptions } from 'node:worker_threads';
import { programEntry } from '#util/package-files.ts';
import type { VcpuThreadData, VcpuThreadReady, VcpuThreadReport, VcpuThreadStart } from './vcpu-thread.ts';

/** What the threads are called, prctl(2), with the vCPU's number behind it. */
export const VCPU_THREAD_NAME = 'vcpu';

/** What a vCPU thread gets to end before its machine is given up. */
const END_LIMIT_MS = 1000;

export interface VcpuWorkerOptions {
  readonly index: number;
  readonly hypervisor: string;
  readonly threadOptions: WorkerOptions | undefined;
  /** The thread ended without a report while its machine ran: its own code could not say that the machine has ended. */
  readonly onDeath: () => void;
}

/** What came of a thread, whether it could say so or not. */
export type ThreadReport = Omit<VcpuThreadReport, 'kind'>;

/** The main thread's side of a vCPU's thread. Node tells of its end and its words when the event loop turns. */
export class VcpuWorker implements Disposable {
  /** Resolves when the thread waits for RunState.begin, and when it ends before. */
  readonly ready: Promise<void>;
  readonly #worker: Worker;
  readonly #exited: Promise<'exited'>;
  readonly #problems: string[] = [];
  #report: VcpuThreadReport | undefined;
  #ending = false;

  constructor({ index, hypervisor, threadOptions, onDeath }: VcpuWorkerOptions) {
    const url = programEntry('vmm/vcpu-thread');
    const name = `${VCPU_THREAD_NAME}${index}`;
    const workerData: VcpuThreadStart = { hypervisor };
    this.#worker = new Worker(url, { ...threadOptions, name, workerData });
    const isReady = Promise.withResolvers<void>();
    this.ready = isReady.promise;
    this.#worker.on('message', (message: VcpuThreadReady | VcpuThreadReport) => {
      if (message.kind === 'report') this.#report = message;
      isReady.resolve();
    });
    this.#worker.on('error', (error: Error) => void this.#problems.push(`vCPU ${index}: ${describe(error)}`));
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', (status) => {
        resolve('exited');
        isReady.resolve();
        if (this.#report !== undefined || this.#ending) return;
        if (this.#problems.length === 0) this.#problems.push(`vCPU ${index}: its thread ended with status ${status}`);
        onDeath();
      });
    });
  }

  /** Gives the thread its machine; it is `ready` then. */
  attach(data: VcpuThreadData): void {
    this.#worker.postMessage(data);
  }

  /** For a machine that does not come about. */
  [Symbol.dispose](): void {
    this.#ending = true;
    void this.#worker.terminate();
  }

  /** Waits for the thread's end; one that does not end in time is terminated. */
  async end(): Promise<ThreadReport> {
    this.#ending = true;
    const timer = Promise.withResolvers<'late'>();
    const timeout = setTimeout(() => timer.resolve('late'), END_LIMIT_MS);
    const outcome = await Promise.race([this.#exited, timer.promise]);
    clearTimeout(timeout);
    if (outcome === 'late') {
      this.#problems.push(`a vCPU thread did not end within ${END_LIMIT_MS} ms`);
      void this.#worker.terminate();
    }
    const { statistics, problems } = this.#report ?? { statistics: {}, problems: [] };
    return { statistics, problems: [...problems, ...this.#problems] };
  }
}

/** Of what Node does to a thread, such as ending it for want of memory, the words are enough; a mistake of ours has its trace. */
function describe(error: Error): string {
  const code = 'code' in error ? String(error.code) : '';
  return code.startsWith('ERR_WORKER_') ? error.message : (error.stack ?? error.message);
}

/** The host's own processor as an engine: a child process runs the cases; when it dies, another takes over. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type CaseResult, type Engine, failed, type TestCase } from '../case.ts';
import { decodeResults, encodeCases, Messages } from '../wire.ts';

/** Cases per message: enough to hide the pipe's latency, few enough to search for the one that kills a child. */
const BATCH = 1000;
const BATCH_TIMEOUT_MS = 60_000;
const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));

/** One child process and the answer it owes. */
class Runner {
  readonly #child: ChildProcess;
  readonly #messages = new Messages();
  #waiting: ((message: Uint8Array<ArrayBuffer> | string) => void) | null = null;
  #ended: string | null = null;
  #stderr = '';

  constructor() {
    this.#child = spawn(process.execPath, [CHILD], { stdio: ['pipe', 'pipe', 'pipe'] });
    const { stdin, stdout, stderr } = this.#child;
    stdin?.on('error', () => {
      // The child is gone; `close` tells how.
    });
    stderr?.on('data', (text: Buffer) => {
      this.#stderr = (this.#stderr + text.toString()).slice(-2000);
    });
    stdout?.on('data', (piece: Buffer) => {
      this.#messages.add(piece);
      const message = this.#messages.next();
      if (message) this.#answer(message);
    });
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code, signal) => this.#end(signal ?? `exit code ${code}\n${this.#stderr}`));
  }

  #answer(message: Uint8Array<ArrayBuffer> | string): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.(message);
  }

  #end(reason: string): void {
    this.#ended ??= reason;
    this.#answer(this.#ended);
  }

  /** The results, or why the child ended instead. */
  async run(cases: readonly TestCase[]): Promise<CaseResult[] | string> {
    if (this.#ended !== null) return this.#ended;
    const answer = new Promise<Uint8Array<ArrayBuffer> | string>((resolve) => {
      this.#waiting = resolve;
    });
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), BATCH_TIMEOUT_MS);
    this.#child.stdin?.write(encodeCases(cases));
    const message = await answer;
    clearTimeout(timer);
    return typeof message === 'string' ? message : decodeResults(message);
  }

  close(): void {
    this.#child.stdin?.end();
    this.#child.kill('SIGKILL');
  }
}

export class HostEngine implements Engine {
  readonly name = 'host';
  #runner = new Runner();

  /** Every case's result; a case that kills the child process has a failure that says how. */
  async run(cases: readonly TestCase[]): Promise<CaseResult[]> {
    const results: CaseResult[] = [];
    for (let i = 0; i < cases.length; i += BATCH) {
      const batch = cases.slice(i, i + BATCH);
      const answer = await this.#runner.run(batch);
      results.push(...(typeof answer === 'string' ? await this.#oneByOne(batch) : answer));
    }
    return results;
  }

  async #oneByOne(cases: readonly TestCase[]): Promise<CaseResult[]> {
    const results: CaseResult[] = [];
    this.#restart();
    let survived = 0;
    for (const testCase of cases) {
      const answer = await this.#runner.run([testCase]);
      if (typeof answer !== 'string') {
        results.push(...answer);
        survived++;
        continue;
      }
      // A child that cannot even do a first case will not do another: it does not start at all.
      if (survived === 0 && results.length > 2) throw new Error(`the host process does not run: ${answer}`);
      results.push(failed(`the host process ended: ${answer}`));
      this.#restart();
    }
    return results;
  }

  #restart(): void {
    this.#runner.close();
    this.#runner = new Runner();
  }

  /** Ends the child process. */
  close(): void {
    this.#runner.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

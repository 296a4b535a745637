/** A DeviceSet as `crosvm run` makes it, and what /proc shows of its processes. */
import { readFileSync } from 'node:fs';
import type { ProxyEnd } from '#devices/proxy/proxied-bus-device.ts';
import { ProxyDevice } from '#devices/proxy/proxy-device.ts';
import { DeviceSet } from '#vmm/devices/device-set.ts';
import type { Policies } from '#vmm/policies.ts';
import { childrenOf, childrenOfThreads, statusOf } from '../jail/observe.ts';
import { TestMachine, type TestMachineOptions } from './machine.ts';

const TIMEOUT_MS = 20_000;
/** Some devices are stopped for ever here. */
const SHUTDOWN_TIMEOUT_MS = 2000;

/** The object owns the machine and the processes. */
export class RunningDevices implements Disposable {
  readonly #owned = new DisposableStack();
  readonly machine: TestMachine;
  readonly set: DeviceSet;
  readonly warden: number;
  /** What the proxies reported: `label: reason`. */
  readonly failures: string[] = [];

  /** `policies`: instead of the machine's own. */
  constructor(options: TestMachineOptions & { readonly sandbox: boolean; readonly policies?: Policies }) {
    this.machine = this.#owned.use(new TestMachine(options));
    const { policies } = options;
    const before = childrenOfThreads(process.pid);
    this.set = this.#owned.use(
      new DeviceSet({
        ...this.machine.options({ ...options, pmem: true }),
        shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS,
        ...(policies === undefined ? {} : { policies }),
      }),
    );
    this.warden = childrenOfThreads(process.pid).find((pid) => !before.includes(pid)) ?? 0;
  }

  /** The bus's side of a device, which gives up after a time that suits a test. */
  proxy(name: string, answerTimeoutMs = TIMEOUT_MS): ProxyDevice {
    const found = this.set.pciFunctions.find(({ debugLabel }) => debugLabel === name);
    if (found === undefined) throw new Error(`no device ${name}`);
    return this.proxyOf(found, answerTimeoutMs);
  }

  proxyOf({ debugLabel, socketFd, sequence }: ProxyEnd, answerTimeoutMs = TIMEOUT_MS): ProxyDevice {
    const onFailure = (label: string, reason: string): void => void this.failures.push(`${label}: ${reason}`);
    return new ProxyDevice({ debugLabel, socket: { fd: socketFd }, sequence, onFailure, answerTimeoutMs });
  }

  /** The id of a device's process. */
  process(name: string): number {
    const pid = childrenOf(this.warden).find((child) => statusOf(child)['Name'] === name);
    if (pid === undefined) throw new Error(`no process ${name}`);
    return pid;
  }

  /** Turns until the set says why the machine cannot go on; undefined when nothing has come for a time. */
  failure(): string | undefined {
    return this.set.failure(TIMEOUT_MS);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** The proportional set size in KiB. */
export function pssKib(pid: number): number {
  return Number(/^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1]);
}

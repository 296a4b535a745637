/** A thread that is the guest: it tries all cases at all devices, and after each looks whom else it has hurt. */
import { readdirSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { ProxiedFunction } from '#devices/proxy/proxied-function.ts';
import type { GuestMemoryDescription } from '#memory/guest-memory.ts';
import type { Verdict } from '../../verdict-table.ts';
import { pssKib } from '../device-process/running.ts';
import { type Attack, Guest } from './attack.ts';
import type { HostileCase } from './case.ts';
import { PORT_CASES } from './port-cases.ts';
import { REGISTER_CASES } from './register-cases.ts';
import { REQUEST_CASES } from './request-cases.ts';
import { RING_CASES } from './ring-cases.ts';

export interface Attacking {
  readonly memory: GuestMemoryDescription;
  readonly functions: readonly ProxiedFunction[];
  /** By the names of the processes. */
  readonly pids: Readonly<Record<string, number>>;
  /** Only cases with this in their name. */
  readonly only: string | undefined;
}

export interface TimedVerdict extends Verdict {
  readonly ms: number;
}

export interface Attacked {
  readonly verdicts: readonly TimedVerdict[];
  /** What should not have happened: `device: case: what`. */
  readonly harm: readonly string[];
  /** Of each process, KiB before and after. */
  readonly pss: Readonly<Record<string, readonly [number, number]>>;
}

const { memory, functions, pids, only } = workerData as Attacking;
const ID_BY_NAME = new Map<string, number>();

const openFds = (): Record<string, number> =>
  Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, readdirSync(`/proc/${pid}/fd`).length]));
const pss = (): Record<string, number> =>
  Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, pssKib(pid)]));

/** Whether every other device is what it was, and one of them, in turn, still answers a request. */
function harmTo(others: readonly Attack[], turn: number): string[] {
  const harmed = others.filter((each) => each.readConfig(0, 4) !== ID_BY_NAME.get(each.target.name));
  const asked = others[turn % others.length];
  if (asked !== undefined && !asked.works()) harmed.push(asked);
  return harmed.map(({ target }) => `${target.name} does not answer`);
}

function tryCase(attack: Attack, { run }: HostileCase): string {
  try {
    attack.driver.reset();
    return run(attack);
  } catch (error) {
    return `failed: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** What should not have come of a case: whom else it hurt, and what stays of it after a reset. */
function harmOf(guest: Guest, attack: Attack, turn: number): string[] {
  const others = guest.attacks.filter((each) => each !== attack);
  try {
    const found = harmTo(others, turn);
    attack.placeBar();
    attack.start();
    return attack.works() ? found : [...found, 'it does not work after a reset'];
  } catch (error) {
    return [String(error)];
  }
}

function attackAll(guest: Guest): Attacked {
  const verdicts: TimedVerdict[] = [];
  const harm: string[] = [];
  const all = [...RING_CASES, ...REGISTER_CASES, ...REQUEST_CASES, ...PORT_CASES];
  const cases = all.filter(({ name }) => name.includes(only ?? ''));
  for (const attack of guest.attacks) {
    ID_BY_NAME.set(attack.target.name, attack.readConfig(0, 4));
    attack.start();
  }
  const [pssBefore, fds] = [pss(), openFds()];
  for (const attack of guest.attacks) {
    const device = attack.target.name;
    for (const [turn, each] of cases.entries()) {
      // A device that is gone or hangs is the end of the machine.
      if (guest.failures.length > 0 || each.only?.includes(device) === false) continue;
      const started = performance.now();
      const verdict = tryCase(attack, each);
      verdicts.push({ device, name: each.name, verdict, ms: Math.round(performance.now() - started) });
      const found = [...harmOf(guest, attack, turn), ...guest.failures];
      // A vector's eventfd goes to main with its first use: there may be fewer.
      for (const [process, count] of Object.entries(guest.failures.length > 0 ? {} : openFds()))
        if (count > (fds[process] ?? 0)) found.push(`${process} has ${count} descriptors, ${fds[process]} before`);
      harm.push(...found.map((what) => `${device}: ${each.name}: ${what}`));
    }
  }
  const pssAfter = guest.failures.length > 0 ? {} : pss();
  const both = Object.entries(pssAfter).map(([name, after]) => [name, [pssBefore[name] ?? 0, after]] as const);
  return { verdicts, harm, pss: Object.fromEntries(both) };
}

using guest = new Guest(memory, functions);
parentPort?.postMessage(attackAll(guest));

/**
 * A process under a filter: `seccomp-child.ts FILE`, a JSON of ChildOrders. It forks, as devices do: Node has threads even
 * with --single-threaded, and where two allocate at once the C library counts processors in /sys to make an arena more. The
 * fork writes a line `RESULT ERRNO` for each call that it makes and survives, and ends with status 0 without giving Node
 * anything more to do; this process ends as the fork did.
 */

import { randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Action } from '#jail/seccomp/action.ts';
import { X86_64 } from '#jail/seccomp/architecture.ts';
import { encode } from '#jail/seccomp/bpf.ts';
import { compilePolicy } from '#jail/seccomp/compile.ts';
import { struct } from '#msg-socket/composites.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { u32 } from '#msg-socket/scalars.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { bind, errno } from '#sys/ffi.ts';
import { write } from '#sys/file.ts';
import { Advice } from '#sys/memory.ts';
import { functionAt, mapForever, Protection } from '#sys/native-code.ts';
import { hasNoNewPrivileges, installSeccompFilter, setNoNewPrivileges } from '#sys/seccomp.ts';

/** A call by its number, with up to six arguments as decimal text. */
export type Call = readonly [number, ...string[]];

export interface ChildOrders {
  readonly policy: string;
  /** By default nothing is filtered, to see what the calls do without. */
  readonly defaultAction?: Action;
  readonly calls?: readonly Call[];
  /**
   * `device`: what a device's loop does. `random`: random bytes of Node. `int80`: getpid(2) as a 32-bit program calls it.
   * `abort`: abort(3).
   */
  readonly task?: 'device' | 'random' | 'int80' | 'abort';
}

const fork = bind<() => number>('int fork()');
const waitpid = bind<(pid: number, status: Uint8Array, flags: number) => number>('int waitpid(int, void*, int)');
const madviseAll = bind<(address: number, size: number, advice: number) => number>(
  'int madvise(uint64_t, uint64_t, int)',
);
const exit = bind<(status: number) => void>('void _exit(int)');
const syscall = bind<(number: number, ...args: bigint[]) => number>(
  'int64_t syscall(long, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t)',
);

function say(text: string): void {
  write(1, Buffer.from(`${text}\n`));
}

function call([number, ...args]: Call): string {
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = args.map(BigInt);
  const result = Number(syscall(number, a, b, c, d, e, f));
  return `${result} ${result === -1 ? errno() : 0}`;
}

const Round = struct({ round: u32 });
type Sockets = ReturnType<typeof MsgSocket.pair<{ round: number }, { round: number }>>;

/** Enough for V8 to compile and to collect garbage, exceptions, and turns of the loop with an eventfd and messages. */
function runDevice(event: EventFd, [here, there]: Sockets): void {
  const poll = new PollContext(namedTokens('kick'));
  poll.add(event, 'kick');
  here.setTimeouts({ sendMs: 10_000, receiveMs: 10_000 });
  let garbage: unknown[] = [];
  for (let round = 0; round < 20; round++) {
    event.write(1);
    poll.wait(0);
    event.read();
    here.send({ round });
    const message = there.recv();
    if (message?.round !== round) throw new Error('a message was lost');
    for (let k = 0; k < 50_000; k++) {
      if (k % 8 === 0) garbage.push({ k, text: `${round}` });
      if (garbage.length > 20_000) garbage = [];
    }
    try {
      throw new Error(`round ${round}`);
    } catch (error) {
      garbage.push(new Uint8Array(2 ** 20), (error as Error).stack, process.hrtime.bigint(), new Date().toString());
    }
  }
  say('worked');
}

/** mov eax, 20 (getpid of i386); int 0x80; ret */
function int80(): () => void {
  const { address, bytes } = mapForever({
    sizeBytes: 4096,
    protection: Protection.READ | Protection.WRITE | Protection.EXECUTE,
  });
  bytes.set([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]);
  return functionAt(address);
}

function main(orders: ChildOrders): void {
  const { policy, defaultAction, calls = [], task } = orders;
  const event = EventFd.create();
  const sockets = MsgSocket.pair({ send: Round, recv: Round });
  const compatibilityCall = int80();
  // V8 reads the time zone's files at the first use of a date, toISOString() included.
  new Date().toISOString();
  // The function's first use binds and compiles.
  call([X86_64.systemCalls.get('getpid') as number]);
  if (defaultAction !== undefined) {
    const filter = encode(compilePolicy({ path: policy, architecture: X86_64, defaultAction }));
    setNoNewPrivileges();
    say(`no new privileges: ${hasNoNewPrivileges()}`);
    installSeccompFilter(filter);
  }
  for (const each of calls) say(call(each));
  if (task === 'device') runDevice(event, sockets);
  if (task === 'random') say(`${randomFillSync(new Uint8Array(64)).length} random bytes`);
  if (task === 'int80') compatibilityCall();
  if (task === 'abort') process.abort();
  exit(0);
}

/** Ends this process as `pid` ends. */
function endAs(pid: number): void {
  const status = new Uint8Array(4);
  waitpid(pid, status, 0);
  const signal = (status[0] as number) & 0x7f;
  if (signal !== 0) process.kill(process.pid, signal);
  process.exitCode = status[1] as number;
}

const orders = JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as ChildOrders;
// V8 keeps its pages from forks; ENOMEM is for the gaps, the rest is done (madvise(2)).
const lowest = 0x1_0000;
madviseAll(lowest, 0x7fff_ffff_0000 - lowest, Advice.DOFORK);
const pid = fork();
if (pid === 0) main(orders);
else endAs(pid);

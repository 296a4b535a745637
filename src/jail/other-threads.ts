/**
 * The threads that a forkable process has besides its own one: V8's worker and its scheduler of delayed tasks, which Node starts whatever the
 * options say. A child of `clone` has none of them, and would wait for ever for a lock that one of them held at that moment.
 */
import { threadIds, threadStatus } from '#sys/every-thread.ts';
import { gettid } from '#sys/signal.ts';

/**
 * What /proc says of a thread, proc(5): `S` is a wait that a signal would end, as in futex(2) and epoll_wait(2). A thread that waits so holds no
 * lock that the forking thread could want: it took them all before, and gives them back before it waits for something to do. One that waits
 * for memory while it holds malloc's is in another state (D).
 */
const STATE = /^State:\s+(\S)/m;
const SWITCHES = /^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm;

/**
 * How often each of them has stopped running, if all of them sleep; undefined when one does not. When two calls give the same, none has run in
 * between, and none has come or gone.
 */
export function otherThreadsAsleep(): string | undefined {
  const own = gettid();
  let seen = '';
  for (const id of threadIds()) {
    if (id === own) continue;
    const status = threadStatus(id);
    if (status === undefined || STATE.exec(status)?.[1] !== 'S') return undefined;
    seen += `${id}:`;
    for (const [, count] of status.matchAll(SWITCHES)) seen += `${count} `;
  }
  return seen;
}

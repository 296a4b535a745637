/** What threads are to do when the target goes on: the packet vCont. */
import type { ThreadAction } from './debug-target.ts';
import { numberOf, type ThreadId, threadOf } from './numbers.ts';

/** More than there can be threads. */
const ACTIONS_MAX = 64;

interface Wish {
  readonly action: ThreadAction;
  readonly thread: ThreadId;
}

/**
 * `text` begins at the first semicolon. The first action that names a thread is its; a thread that none names stays. A signal, which a processor
 * has no use for, is left out. Undefined for what is no such text, and where all would stay.
 */
export function actionsOf(text: string, threadCount: number): ThreadAction[] | undefined {
  const parts = text.split(';');
  if (parts.shift() !== '' || parts.length > ACTIONS_MAX) return undefined;
  const wishes: Wish[] = [];
  for (const part of parts) {
    const wish = wishOf(part, threadCount);
    if (wish === undefined) return undefined;
    wishes.push(wish);
  }
  return decided(wishes, threadCount);
}

function wishOf(part: string, threadCount: number): Wish | undefined {
  const [what = '', id, ...rest] = part.split(':');
  if (rest.length > 0) return undefined;
  const thread = id === undefined ? 'all' : threadOf(id, threadCount);
  const action = actionOf(what);
  return thread === undefined || action === undefined ? undefined : { action, thread };
}

function actionOf(what: string): ThreadAction | undefined {
  if (what === 'c' || what === 's') return what === 'c' ? 'run' : 'step';
  const signal = what.slice(1);
  if (!/^[CS]/.test(what) || signal.length > 2 || numberOf(signal) === undefined) return undefined;
  return what.startsWith('C') ? 'run' : 'step';
}

function decided(wishes: readonly Wish[], threadCount: number): ThreadAction[] | undefined {
  const names = ({ thread: named }: Wish, thread: number): boolean =>
    named === 'all' || named === thread || (named === 'any' && thread === 0);
  const actions = Array.from(
    { length: threadCount },
    (_, thread): ThreadAction => wishes.find((wish) => names(wish, thread))?.action ?? 'stay',
  );
  return actions.every((action) => action === 'stay') ? undefined : actions;
}

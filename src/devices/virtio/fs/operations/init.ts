import { Errno } from '#sys/syscall-error.ts';
import { InitFlag, InitIn, InitOut, MAX_BACKGROUND, MAX_PAGES, PAGE_BYTES, VERSION } from '../constants.ts';
import type { FuseContext } from '../context.ts';

/** What is always taken where the guest offers it. */
const WANTED =
  InitFlag.ASYNC_READ |
  InitFlag.ATOMIC_O_TRUNC |
  InitFlag.BIG_WRITES |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.MAX_PAGES |
  // The host's kernel does that itself at every write, and the guest need not ask for security.capability before each.
  InitFlag.HANDLE_KILLPRIV_V2;

/** INIT: a new beginning, whatever was before. */
export function init(context: FuseContext): number {
  const { request, host, inodes, stat } = context;
  const at = request.take(InitIn.size);
  if (at < 0) return -Errno.EINVAL;
  const { major, minor, maxReadahead, flags } = InitIn.fields;
  const { view } = request;
  context.forgetAll();
  // The guest asks again with what it is told.
  if (major.get(view, at) > VERSION.MAJOR) return answer(context, { maxReadahead: 0, flags: 0 });
  if (major.get(view, at) < VERSION.MAJOR || minor.get(view, at) < VERSION.MINOR_MIN) return -Errno.EPROTO;
  const result = host.stat(host.root, stat);
  if (result < 0) return result;
  inodes.addRoot(stat);
  const agreed = flags.get(view, at) & wantedFlags(context);
  context.isInitialized = true;
  context.collectsWrites = (agreed & InitFlag.WRITEBACK_CACHE) !== 0;
  return answer(context, { maxReadahead: maxReadahead.get(view, at), flags: agreed });
}

function wantedFlags({ options: { cache, writeback } }: FuseContext): number {
  const cached = cache === 'always' ? InitFlag.CACHE_SYMLINKS : InitFlag.AUTO_INVAL_DATA;
  return WANTED | cached | (writeback ? InitFlag.WRITEBACK_CACHE : 0);
}

function answer({ reply }: FuseContext, agreed: { maxReadahead: number; flags: number }): number {
  const values = InitOut.encode({
    ...agreed,
    major: VERSION.MAJOR,
    minor: VERSION.MINOR,
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: (MAX_BACKGROUND * 3) / 4,
    maxWrite: MAX_PAGES * PAGE_BYTES,
    timeGran: 1,
    maxPages: MAX_PAGES,
  });
  reply.set(values);
  return InitOut.size;
}

/** A protocol as devices have it, for the tests, and the server's side. */
import { struct } from '#msg-socket/composites.ts';
import { type Handlers, posted, protocol, request } from '#msg-socket/protocol.ts';
import { descriptor, textUpTo, u8, u32, unit } from '#msg-socket/scalars.ts';
import type { Fd } from '#sys/fd.ts';
import { CodedError } from '#util/errors.ts';

const Item = struct({ name: textUpTo(32), fd: descriptor });
const Named = struct({ name: textUpTo(32) });
const Read = struct({ offset: u32, length: u8 });

export const Shelf = protocol({
  put: request(Item, u32),
  take: request(Named, Item),
  read: request(Read, u32),
  write: posted(Read),
  count: request(unit, u32),
  sleep: request(struct({ ms: u32 }), descriptor),
  fail: request(struct({ code: textUpTo(100), message: textUpTo(1000) }), unit),
});

/** How many writes have come, and what lies there. */
export interface ShelfState {
  writes: number;
  readonly items: Map<string, Fd>;
}

export function shelfHandlers(state: ShelfState, sleepingFd: () => Fd): Handlers<typeof Shelf> {
  return {
    put({ name, fd }) {
      if (state.items.has(name)) throw new CodedError('TAKEN', `there is a "${name}" already`);
      state.items.set(name, fd);
      return state.items.size;
    },
    take({ name }) {
      const fd = state.items.get(name);
      if (!fd) throw new CodedError('MISSING', `there is no "${name}"`);
      state.items.delete(name);
      return { name, fd };
    },
    read: ({ offset, length }) => offset * 256 + length,
    write: () => {
      state.writes++;
    },
    count: () => state.items.size + state.writes,
    sleep({ ms }) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
      return sleepingFd();
    },
    fail({ code, message }) {
      throw new CodedError(code, message);
    },
  };
}

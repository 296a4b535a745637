/**
 * What a PCI device's process may ask of main about its BARs: that a write at a place signals an eventfd and does nothing else. Main
 * makes the eventfds: the guest's processors write to them, and must not write to whatever a device would like.
 */
import { struct } from '#msg-socket/composites.ts';
import { type Handlers, protocol, request } from '#msg-socket/protocol.ts';
import { descriptor, u8, u32, unit } from '#msg-socket/scalars.ts';
import type { Fd } from '#sys/fd.ts';
import { CodedError } from '#util/errors.ts';

export const VmIoevent = protocol({
  /**
   * From the answer on writes at the place signal the eventfd, whose count may not be 0 at first. It follows the BAR where the
   * guest moves it.
   */
  registerIoevent: request(struct({ bar: u8, offset: u32 }), struct({ id: u32, event: descriptor })),
  /** Writes at the place reach the device again. */
  unregisterIoevent: request(struct({ id: u32 }), unit),
});

/** NOT_YOURS: the place is in no BAR of the device, or the number not its own. TAKEN: the place has an eventfd. */
export type VmIoeventErrorCode = 'NOT_YOURS' | 'TAKEN' | 'TOO_MANY';

/** What a device may not ask for. */
export class VmIoeventError extends CodedError<VmIoeventErrorCode> {
  override readonly name = 'VmIoeventError';
}

export interface IoeventPlace {
  readonly bar: number;
  readonly offset: number;
}

/** One device as main has it. */
export interface IoeventHost {
  readonly bars: readonly { readonly index: number; readonly sizeBytes: number }[];
  /** Places that have eventfds already, which the device cannot name. */
  readonly taken: readonly IoeventPlace[];
  /** How many it may have at a time. */
  readonly eventsMax: number;
  /** Event 0 to `eventsMax` - 1 is signalled at the place from now on. Returns its descriptor, for the device. */
  set(event: number, place: IoeventPlace): Fd;
  clear(event: number): void;
}

/** The handlers for one device. */
export function ioeventHandlers(host: IoeventHost): Handlers<typeof VmIoevent> {
  const own = new Map<number, IoeventPlace>();
  return {
    registerIoevent: (place) => {
      const { bar, offset } = place;
      const text = `offset ${offset} of BAR ${bar}`;
      const isInside = host.bars.some(({ index, sizeBytes }) => index === bar && offset < sizeBytes);
      if (!isInside) throw new VmIoeventError('NOT_YOURS', `${text} is not the device's`);
      const isTaken = [...host.taken, ...own.values()].some((other) => other.bar === bar && other.offset === offset);
      if (isTaken) throw new VmIoeventError('TAKEN', `${text} has an eventfd`);
      const id = Array.from({ length: host.eventsMax }, (_, index) => index).find((index) => !own.has(index));
      if (id === undefined) {
        throw new VmIoeventError('TOO_MANY', `the device has its ${host.eventsMax} ioevents already`);
      }
      const event = host.set(id, { bar, offset });
      own.set(id, { bar, offset });
      return { id, event };
    },
    unregisterIoevent: ({ id }) => {
      if (!own.delete(id)) throw new VmIoeventError('NOT_YOURS', `ioevent ${id} is not the device's`);
      host.clear(id);
    },
  };
}

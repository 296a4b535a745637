/**
 * What a PCI device's process may ask of main about its interrupts: a message-signalled interrupt of its own, and what message
 * it sends. Main answers for each device apart, so that a device can only speak of what it was given.
 */

import { struct } from '#msg-socket/composites.ts';
import { type Handlers, protocol, request } from '#msg-socket/protocol.ts';
import { descriptor, u32, u64AsNumber, unit } from '#msg-socket/scalars.ts';
import type { Fd } from '#sys/fd.ts';
import { CodedError } from '#util/errors.ts';

export const VmIrq = protocol({
  /** Signals of the eventfd become an interrupt; the answer names it. */
  allocateOneMsi: request(struct({ irqfd: descriptor }), struct({ gsi: u32 })),
  addMsiRoute: request(struct({ gsi: u32, address: u64AsNumber, data: u32 }), unit),
});

export type VmIrqErrorCode = 'NOT_YOURS' | 'TOO_MANY' | 'EXHAUSTED';

/** What a device may not ask for. */
export class VmIrqError extends CodedError<VmIrqErrorCode> {
  override readonly name = 'VmIrqError';
}

/** What the machine does for its devices. */
export interface MsiHost {
  /** A GSI that nobody has. Throws a CodedError when there is none. */
  allocateGsi(): number;
  /** Takes the descriptor over. */
  addIrqfd(gsi: number, irqfd: Fd): void;
  setMsiRoute(gsi: number, address: number, data: number): void;
}

/** The handlers for one device, which may have so many interrupts. */
export function msiHandlers(host: MsiHost, vectorsMax: number): Handlers<typeof VmIrq> {
  const own = new Set<number>();
  return {
    allocateOneMsi: ({ irqfd }) => {
      if (own.size >= vectorsMax)
        throw new VmIrqError('TOO_MANY', `the device has its ${vectorsMax} interrupts already`);
      const gsi = host.allocateGsi();
      own.add(gsi);
      host.addIrqfd(gsi, irqfd);
      return { gsi };
    },
    addMsiRoute: ({ gsi, address, data }) => {
      if (!own.has(gsi)) throw new VmIrqError('NOT_YOURS', `GSI ${gsi} is not the device's`);
      host.setMsiRoute(gsi, address, data);
    },
  };
}

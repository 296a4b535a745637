/**
 * What the socket device's process may ask of main: a connection to what the host offers at a port. The process itself can
 * neither make sockets nor see paths; which socket a port means is main's alone to say.
 */
import { struct } from '#msg-socket/composites.ts';
import { type Handlers, protocol, request } from '#msg-socket/protocol.ts';
import { descriptor, u32 } from '#msg-socket/scalars.ts';
import type { Fd } from '#sys/fd.ts';
import { CodedError } from '#util/errors.ts';

export const VsockConnect = protocol({
  /** A connected, non-blocking stream socket. */
  connect: request(struct({ port: u32 }), struct({ socket: descriptor })),
});

/** Nobody listens at the port, or so many wait that another one would have to. */
export class VsockConnectError extends CodedError<'REFUSED'> {
  override readonly name = 'VsockConnectError';
}

/** `connect` gives a connected socket, which goes to the device, without waiting for it. Throws a CodedError when there is none. */
export function vsockConnectHandlers(connect: (port: number) => Fd): Handlers<typeof VsockConnect> {
  return { connect: ({ port }) => ({ socket: connect(port) }) };
}

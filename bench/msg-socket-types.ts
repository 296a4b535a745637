/** What the two processes of the bench msg-socket say to each other. */
import { struct } from '../src/msg-socket/composites.ts';
import { MsgSocket } from '../src/msg-socket/msg-socket.ts';
import { type ProtocolServer, protocol, request } from '../src/msg-socket/protocol.ts';
import { u8, u32, u64AsNumber } from '../src/msg-socket/scalars.ts';
import type { Fd } from '../src/sys/fd.ts';

/** 12 bytes, 16 with the header: a register access. */
const Ping = struct({ offset: u64AsNumber, length: u32 });
export const PING = { offset: 0x1234, length: 4 };

/** A read of a device's register as a proxy asks for it: 18 bytes there, 13 back. */
export const RegisterProxy = protocol({ read: request(struct({ offset: u64AsNumber, length: u8 }), u32) });

export function openSocket(fd: Fd) {
  return new MsgSocket(fd, { send: Ping, recv: Ping });
}

export function openProxyServer(fd: Fd): ProtocolServer {
  return RegisterProxy.server(fd, { read: ({ offset, length }) => (offset + length) >>> 0 });
}

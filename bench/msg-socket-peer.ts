/** The other process of the bench msg-socket: sends back what comes at descriptor 3, or serves it, until the end. */
import { Fd } from '../src/sys/fd.ts';
import { openProxyServer, openSocket, PING } from './msg-socket-types.ts';

if (process.argv[2] === 'protocol') {
  using server = openProxyServer(new Fd(3));
  while (server.serveOne());
} else {
  using socket = openSocket(new Fd(3));
  const message = { ...PING };
  while (socket.recvInto(message)) socket.send(message);
}

/** A process of its own that serves the shelf at descriptor 3 until the client closes, without the event loop. */
import { Fd } from '#sys/fd.ts';
import { openFds } from './open-fds.ts';
import { Shelf, shelfHandlers } from './shelf.ts';

const items = new Map<string, Fd>();
using server = Shelf.server(
  new Fd(3),
  shelfHandlers({ writes: 0, items }, () => Fd.open('/dev/null')),
);
const before = openFds().length;
while (server.serveOne());
// What nobody took is the server's; anything more has leaked.
process.exitCode = openFds().length === before + items.size ? 0 : 1;

import type { Connection } from './connection.ts';

/** The connections that the guest knows, by their two ports. A pair of 32-bit numbers is no key that a number holds. */
export class ConnectionTable {
  readonly #byGuestPort = new Map<number, Map<number, Connection>>();

  find(guestPort: number, hostPort: number): Connection | undefined {
    return this.#byGuestPort.get(guestPort)?.get(hostPort);
  }

  add(connection: Connection): void {
    const { guestPort, hostPort } = connection;
    const others = this.#byGuestPort.get(guestPort);
    if (others === undefined) this.#byGuestPort.set(guestPort, new Map([[hostPort, connection]]));
    else others.set(hostPort, connection);
  }

  delete({ guestPort, hostPort }: Connection): void {
    const others = this.#byGuestPort.get(guestPort);
    others?.delete(hostPort);
    if (others?.size === 0) this.#byGuestPort.delete(guestPort);
  }
}

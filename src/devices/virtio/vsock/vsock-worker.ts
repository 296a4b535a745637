import { EpollContext, type PollEvent } from '#poll/epoll-context.ts';
import type { EventFd } from '#poll/event-fd.ts';
import type { Fd } from '#sys/fd.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber, viewOf } from '#util/struct.ts';
import type { ActiveQueues } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { ChainReader, ChainWriter } from '../queue/chain-cursor.ts';
import { QueueServer, type Worker } from '../worker.ts';
import { Connection } from './connection.ts';
import { ConnectionTable } from './connection-table.ts';
import {
  BUFFER_BYTES,
  CONNECTIONS_MAX,
  FIRST_HOST_PORT,
  HANDSHAKES_MAX,
  HOST_CID,
  Operation,
  PACKET_BYTES_MAX,
  PORT_ANY,
  RESETS_MAX,
  ShutdownFlag,
  TYPE_STREAM,
  VsockHeader,
  VsockQueue,
} from './constants.ts';
import { Handshake } from './handshake.ts';
import type { HostSockets } from './host-sockets.ts';
import { ResetList } from './reset-list.ts';

const TOKEN = { RECEIVE: 0, TRANSMIT: 1, LISTENER: 2, SOCKETS: 3 } as const;
/** A socket stays in the poll as it is all its life: a change is reported once, and what can be done is remembered. */
const EDGES = { readable: true, writable: true, edgeTriggered: true } as const;
const LISTENING = { readable: true, edgeTriggered: true } as const;
/** So many are accepted at a time: somebody who connects without end must not keep the device from its work. */
const ACCEPTED_MAX = 32;

export interface VsockWorkerOptions {
  readonly cid: number;
  /** Outlives the worker. */
  readonly host: HostSockets;
  readonly interrupt: Interrupt;
  readonly queues: ActiveQueues;
  readonly queueEvents: readonly EventFd[];
}

/**
 * The work of an active socket device. Packets of the guest are judged one by one and become bytes of sockets; what goes to the
 * guest waits in its connection (`hasWork`) or as an RST, and is made into packets when the guest has buffers for them.
 */
export class VsockWorker implements Worker {
  readonly #cid: number;
  readonly #host: HostSockets;
  readonly #receive: QueueServer | undefined;
  readonly #transmit: QueueServer | undefined;
  readonly #poll = new EpollContext<number>(u64AsNumber);
  readonly #sockets = new Map<number, Handshake | Connection>();
  readonly #handshakes = new Set<number>();
  readonly #table = new ConnectionTable();
  readonly #resets = new ResetList();
  /** Connections that have something to send, each once, in turn. */
  readonly #listed: Connection[] = [];
  /** With those that linger. */
  #connectionCount = 0;
  #nextToken: number = TOKEN.SOCKETS;
  #nextHostPort: number = FIRST_HOST_PORT;
  readonly #received = new Uint8Array(VsockHeader.size);
  readonly #receivedHeader = VsockHeader.at(viewOf(this.#received));
  readonly #sent = new Uint8Array(VsockHeader.size);
  readonly #sentHeader = VsockHeader.at(viewOf(this.#sent));
  readonly #payload = new Uint8Array(PACKET_BYTES_MAX);

  /** Throws SyscallError. */
  constructor({ cid, host, interrupt, queues, queueEvents }: VsockWorkerOptions) {
    this.#cid = cid;
    this.#host = host;
    const server = (index: number): QueueServer | undefined => {
      const queue = queues[index];
      const event = queueEvents[index];
      assert(event !== undefined, 'an event for every queue');
      return queue && new QueueServer({ queue, event, interrupt });
    };
    this.#receive = server(VsockQueue.RECEIVE);
    this.#transmit = server(VsockQueue.TRANSMIT);
    try {
      if (this.#receive !== undefined) this.#poll.add(this.#receive.event, TOKEN.RECEIVE);
      if (this.#transmit !== undefined) this.#poll.add(this.#transmit.event, TOKEN.TRANSMIT);
      if (this.#receive !== undefined) this.#poll.add(host.listener, TOKEN.LISTENER, LISTENING);
    } catch (error) {
      this.#poll.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#poll.fd;
  }

  turn(timeoutMs?: number): void {
    const events = this.#poll.wait(timeoutMs);
    for (let index = 0; index < events.length; index++) this.#handle(events.at(index));
    this.#deliver();
  }

  [Symbol.dispose](): void {
    for (const { socket } of this.#sockets.values()) socket?.[Symbol.dispose]();
    this.#sockets.clear();
    this.#poll[Symbol.dispose]();
  }

  #handle(event: PollEvent<number>): void {
    const { token } = event;
    if (token === TOKEN.RECEIVE) this.#receive?.takeKick();
    else if (token === TOKEN.TRANSMIT) this.#takePackets();
    else if (token === TOKEN.LISTENER) this.#accept();
    else {
      const socket = this.#sockets.get(token);
      if (socket instanceof Handshake) this.#greet(socket, token);
      else if (socket !== undefined) this.#onSocket(socket, event);
    }
  }

  // The host's peers.

  #accept(): void {
    try {
      for (let left = ACCEPTED_MAX; left > 0; left--) {
        const socket = this.#host.accept();
        if (socket === undefined) return;
        this.#beginHandshake(socket);
      }
    } catch (error) {
      // Nobody more is accepted until the next one comes: the peer has gone, or the host is short of something.
      if (!(error instanceof SyscallError)) throw error;
      return;
    }
    // There may be more, of which no edge would tell.
    this.#poll.modify(this.#host.listener, TOKEN.LISTENER, LISTENING);
  }

  #beginHandshake(socket: Fd): void {
    if (this.#handshakes.size >= HANDSHAKES_MAX) this.#dropOldestHandshake();
    const token = this.#nextToken++;
    if (!this.#watch(socket, token)) return;
    this.#sockets.set(token, new Handshake(socket));
    this.#handshakes.add(token);
  }

  /** A peer that says nothing must not keep others from it. */
  #dropOldestHandshake(): void {
    for (const token of this.#handshakes) {
      this.#endHandshake(token, this.#sockets.get(token)?.socket);
      return;
    }
  }

  #endHandshake(token: number, socket: Fd | undefined): void {
    this.#handshakes.delete(token);
    this.#sockets.delete(token);
    if (socket !== undefined) this.#poll.remove(socket);
    socket?.close();
  }

  /** Takes the socket over; false when the host refuses to watch it. */
  #watch(socket: Fd, token: number): boolean {
    try {
      this.#poll.add(socket, token, EDGES);
      return true;
    } catch (error) {
      socket.close();
      if (error instanceof SyscallError) return false;
      throw error;
    }
  }

  #greet(handshake: Handshake, token: number): void {
    const guestPort = handshake.read();
    if (guestPort === 'more') return;
    const { socket } = handshake;
    if (guestPort === 'refused' || !this.#hasRoom()) {
      this.#endHandshake(token, socket);
      return;
    }
    this.#handshakes.delete(token);
    const hostPort = this.#freeHostPort(guestPort);
    this.#add(new Connection({ token, hostPort, guestPort, socket, state: 'requested' }));
  }

  #freeHostPort(guestPort: number): number {
    for (;;) {
      const port = this.#nextHostPort;
      this.#nextHostPort = port + 1 < PORT_ANY ? port + 1 : FIRST_HOST_PORT;
      // There are fewer connections than ports.
      if (this.#table.find(guestPort, port) === undefined) return port;
    }
  }

  #onSocket(connection: Connection, event: PollEvent<number>): void {
    if (event.readable) connection.mayRead = true;
    if (event.hungUp || event.error) connection.onHangup();
    if (event.writable && connection.bufferedBytes > 0) connection.flush();
    this.#after(connection);
  }

  // The connections.

  #hasRoom(): boolean {
    if (this.#connectionCount < CONNECTIONS_MAX) return true;
    for (const each of this.#sockets.values()) {
      if (!(each instanceof Connection) || !each.isAbandoned) continue;
      this.#reset(each);
      return true;
    }
    return false;
  }

  #add(connection: Connection): void {
    this.#connectionCount += 1;
    this.#sockets.set(connection.token, connection);
    this.#table.add(connection);
    this.#after(connection);
  }

  /** After anything that a connection was told: what has to be sent is, and what is over ends. */
  #after(connection: Connection): void {
    if (connection.state === 'lingering') {
      if (connection.bufferedBytes === 0) this.#forget(connection);
      return;
    }
    connection.askForCredit();
    if (!connection.isListed && connection.hasWork) {
      connection.isListed = true;
      this.#listed.push(connection);
    }
  }

  /** Ends a connection at once; the guest is told. */
  #reset(connection: Connection): void {
    if (connection.isKnownToGuest) this.#resets.push(HOST_CID, connection.hostPort, connection.guestPort);
    this.#drop(connection);
  }

  /** Ends a connection at once. */
  #drop(connection: Connection): void {
    this.#table.delete(connection);
    this.#forget(connection);
  }

  /** The guest has closed it: it is confirmed, and the host gets what is left. */
  #finish(connection: Connection): void {
    this.#resets.push(HOST_CID, connection.hostPort, connection.guestPort);
    this.#table.delete(connection);
    connection.state = 'lingering';
    this.#after(connection);
  }

  /** A connection that is in no table any more. A guest that takes no packets must not make the list longer by what is over. */
  #forget(connection: Connection): void {
    connection.state = 'lingering';
    if (connection.isListed) {
      connection.isListed = false;
      this.#listed.splice(this.#listed.indexOf(connection), 1);
    }
    this.#closeSocket(connection);
    if (this.#sockets.delete(connection.token)) this.#connectionCount -= 1;
  }

  #closeSocket(connection: Connection): void {
    if (connection.socket === undefined) return;
    this.#poll.remove(connection.socket);
    connection.close();
  }

  // From the guest.

  /** As long as there is room for answers: then the guest has to take some first, §5.10.6.1.1. */
  #takePackets(): void {
    const server = this.#transmit;
    if (server === undefined) return;
    server.takeKick();
    let left = server.queue.size;
    while (left > 0 && this.#resets.length < RESETS_MAX && server.next()) {
      this.#takePacket(server.reader);
      server.queue.addUsed(server.chain.head, 0);
      left -= 1;
    }
    if (left === 0) server.event.write();
    server.signal();
  }

  #takePacket(reader: ChainReader): void {
    // Nobody whom one could answer.
    if (reader.read(this.#received) < VsockHeader.size) return;
    const header = this.#receivedHeader;
    const { srcCid, dstCid, srcPort, dstPort, type, op } = header;
    if (srcCid !== this.#cid) return;
    if (dstCid !== HOST_CID || type !== TYPE_STREAM) {
      if (op !== Operation.RST && Number.isSafeInteger(dstCid)) this.#resets.push(dstCid, dstPort, srcPort, type);
      return;
    }
    const connection = this.#table.find(srcPort, dstPort);
    if (connection !== undefined) {
      connection.learnCredit(header.bufAlloc, header.fwdCnt);
      if (!this.#takeFor(connection, reader)) this.#reset(connection);
      else if (connection.socket !== undefined || connection.state !== 'lingering') this.#after(connection);
    } else if (op === Operation.REQUEST) this.#open(srcPort, dstPort);
    else if (op !== Operation.RST) this.#resets.push(HOST_CID, dstPort, srcPort);
  }

  /** A packet of a connection; false for one that makes no sense for it. */
  #takeFor(connection: Connection, reader: ChainReader): boolean {
    const { op, flags } = this.#receivedHeader;
    if (op === Operation.RST) {
      this.#drop(connection);
      return true;
    }
    if (connection.state === 'requested') return op === Operation.RESPONSE && establish(connection);
    if (connection.state !== 'established') return false;
    switch (op) {
      case Operation.RW:
        return this.#takeBytes(connection, reader);
      case Operation.SHUTDOWN:
        connection.guestCloses(flags);
        if (connection.guestShutdown === ShutdownFlag.BOTH) this.#finish(connection);
        return true;
      case Operation.CREDIT_REQUEST:
        connection.need(Operation.CREDIT_UPDATE);
        return true;
      default:
        return op === Operation.CREDIT_UPDATE;
    }
  }

  #takeBytes(connection: Connection, reader: ChainReader): boolean {
    const { len } = this.#receivedHeader;
    if (len > PACKET_BYTES_MAX || len > reader.remaining) return false;
    if ((connection.guestShutdown & ShutdownFlag.SEND) !== 0) return false;
    if (connection.socket === undefined) return true;
    const bytes = len === PACKET_BYTES_MAX ? this.#payload : this.#payload.subarray(0, len);
    reader.read(bytes);
    return connection.takeGuest(bytes, len);
  }

  /** The guest asks for a connection. */
  #open(guestPort: number, hostPort: number): void {
    const token = this.#nextToken++;
    const socket = hostPort !== PORT_ANY && this.#hasRoom() ? this.#host.connect(hostPort) : undefined;
    if (socket === undefined || !this.#watch(socket, token)) {
      this.#resets.push(HOST_CID, hostPort, guestPort);
      return;
    }
    const connection = new Connection({ token, hostPort, guestPort, socket, state: 'answering' });
    connection.learnCredit(this.#receivedHeader.bufAlloc, this.#receivedHeader.fwdCnt);
    this.#add(connection);
  }

  // To the guest.

  #deliver(): void {
    const server = this.#receive;
    if (server === undefined) return;
    const wasFull = this.#resets.length >= RESETS_MAX;
    let left = server.queue.size;
    while (left > 0 && (this.#resets.length > 0 || this.#listed.length > 0) && server.next()) {
      const { writer, queue, chain } = server;
      // A buffer without room for a byte after the header is of no use.
      const size = writer.remaining > VsockHeader.size ? this.#fill(writer) : 0;
      if (size === 0 && writer.remaining > VsockHeader.size) {
        queue.undoPop();
        break;
      }
      queue.addUsed(chain.head, size);
      left -= 1;
    }
    if (left === 0) server.event.write();
    server.signal();
    if (wasFull && this.#resets.length < RESETS_MAX) this.#transmit?.event.write();
  }

  /** Puts the next packet into a buffer: its size, 0 when there is none. */
  #fill(writer: ChainWriter): number {
    const reset = this.#resets.take();
    if (reset !== undefined) {
      this.#begin(Operation.RST, reset.srcPort, reset.dstPort);
      this.#sentHeader.srcCid = reset.srcCid;
      this.#sentHeader.type = reset.type;
      return writer.write(this.#sent);
    }
    for (;;) {
      const connection = this.#listed.shift();
      if (connection === undefined) return 0;
      connection.isListed = false;
      if (connection.state === 'lingering') continue;
      const size = this.#fillFrom(connection, writer);
      if (connection.isOverForHost) this.#closeSocket(connection);
      this.#after(connection);
      if (size > 0) return size;
    }
  }

  #fillFrom(connection: Connection, writer: ChainWriter): number {
    let operation = connection.takeControl();
    let count = 0;
    if (operation === 0) {
      count = connection.readHost(this.#payload, writer.remaining - VsockHeader.size);
      // The end of the host's bytes is told in this buffer.
      operation = count > 0 ? Operation.RW : connection.takeControl();
      if (operation === 0) return 0;
    }
    const header = this.#sentHeader;
    this.#begin(operation, connection.hostPort, connection.guestPort);
    header.len = count;
    header.flags = operation === Operation.SHUTDOWN ? connection.hostShutdown : 0;
    header.bufAlloc = BUFFER_BYTES;
    header.fwdCnt = connection.announce();
    if (operation === Operation.REQUEST) connection.isKnownToGuest = true;
    else if (operation === Operation.RESPONSE) connection.state = 'established';
    return writer.write(this.#sent) + writer.write(this.#payload, count);
  }

  #begin(op: number, srcPort: number, dstPort: number): void {
    this.#sent.fill(0);
    const header = this.#sentHeader;
    header.srcCid = HOST_CID;
    header.dstCid = this.#cid;
    header.srcPort = srcPort;
    header.dstPort = dstPort;
    header.type = TYPE_STREAM;
    header.op = op;
  }
}

function establish(connection: Connection): boolean {
  connection.state = 'established';
  return connection.greet();
}

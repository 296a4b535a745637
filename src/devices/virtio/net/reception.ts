import { viewOf } from '#util/struct.ts';
import { ChainWriter } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { QueueServer } from '../worker.ts';
import type { NetBackend } from './backend.ts';
import { HEADER_BYTES, NetFeature, PacketHeader } from './constants.ts';
import type { ReceiveFilter } from './receive-filter.ts';

const NUM_BUFFERS = PacketHeader.fields.numBuffers;

/** What came of an attempt to hand a packet to the driver. */
type Delivery = 'done' | 'dropped' | 'no-buffers' | 'fault';

export interface ReceptionOptions {
  readonly server: QueueServer;
  readonly backend: NetBackend;
  /** Those of the negotiation. */
  readonly features: bigint;
  readonly filter: ReceiveFilter;
}

/**
 * Packets of the backend that the driver wants go into the driver's buffers, VIRTIO 1.1 §5.1.6.4: with MRG_RXBUF into as many as they need, else into
 * one, or nowhere where it is too small. Without buffers the packet waits here and the others where they are.
 */
export class Reception {
  /** False while there are no buffers: the backend is not to be waited for. */
  wantsPackets = true;
  readonly #server: QueueServer;
  readonly #backend: NetBackend;
  readonly #filter: ReceiveFilter;
  readonly #merges: boolean;
  readonly #more: DescriptorChain;
  readonly #moreWriter: ChainWriter;
  /** The chains of a packet after the first. */
  readonly #heads: Uint16Array;
  readonly #sizes: Uint32Array;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #headerView = viewOf(this.#header);
  /** A packet that waits for buffers. */
  #packet: Uint8Array | undefined;

  constructor({ server, backend, features, filter }: ReceptionOptions) {
    this.#server = server;
    this.#backend = backend;
    this.#filter = filter;
    this.#merges = (features & NetFeature.MRG_RXBUF) !== 0n;
    this.#more = server.queue.createChain();
    this.#moreWriter = new ChainWriter(this.#more.memory);
    this.#heads = new Uint16Array(server.queue.size);
    this.#sizes = new Uint32Array(server.queue.size);
  }

  /** The driver kicked: there may be buffers. */
  onKick(): void {
    this.#server.takeKick();
    this.wantsPackets = true;
    this.run();
  }

  /** Hands over packets until there are none, no buffers, or as many as the queue holds. */
  run(): void {
    const { queue, event } = this.#server;
    let left = queue.size;
    while (this.wantsPackets) {
      this.#packet ??= this.#backend.receive();
      if (this.#packet === undefined) break;
      if (left === 0) {
        // Packets that the backend has read already make nothing readable.
        event.write();
        break;
      }
      left -= 1;
      const delivery = this.#filter.accepts(this.#packet) ? this.#deliver(this.#packet) : 'dropped';
      if (delivery === 'done' || delivery === 'dropped') this.#packet = undefined;
      else this.wantsPackets = false;
    }
    this.#server.signal();
  }

  #deliver(packet: Uint8Array): Delivery {
    const { queue, chain, writer } = this.#server;
    if (!this.#server.next()) return queue.fault === undefined ? 'no-buffers' : 'fault';
    if (chain.writableBytes < HEADER_BYTES) {
      this.#server.fail('NO_ROOM_FOR_ANSWER');
      return 'fault';
    }
    if (chain.writableBytes < packet.length && !this.#merges) {
      queue.undoPop();
      return 'dropped';
    }
    writer.skip(HEADER_BYTES);
    let done = HEADER_BYTES + writer.write(packet, packet.length - HEADER_BYTES, HEADER_BYTES);
    const firstBytes = done;
    let count = 1;
    while (done < packet.length) {
      if (count === queue.size) {
        // All buffers together are too small.
        queue.undoPop(count);
        return 'dropped';
      }
      if (!queue.pop(this.#more)) {
        queue.undoPop(count);
        return this.#missing();
      }
      this.#moreWriter.begin(this.#more);
      const written = this.#moreWriter.write(packet, packet.length - done, done);
      this.#heads[count] = this.#more.head;
      this.#sizes[count] = written;
      count += 1;
      done += written;
    }
    this.#finish(packet, firstBytes, count);
    return 'done';
  }

  /** The header, which counts the chains, then all chains at once: a driver that sees the first takes the others for there. */
  #finish(packet: Uint8Array, firstBytes: number, count: number): void {
    const { queue, chain, writer } = this.#server;
    for (let at = 0; at < HEADER_BYTES; at++) this.#header[at] = packet[at]!;
    NUM_BUFFERS.set(this.#headerView, 0, count);
    writer.begin(chain);
    writer.write(this.#header);
    queue.stageUsed(chain.head, firstBytes);
    for (let index = 1; index < count; index++) queue.stageUsed(this.#heads[index]!, this.#sizes[index]!);
    queue.publishUsed();
  }

  /** A further chain is not there, or has a fault, which is told of. */
  #missing(): Delivery {
    if (this.#server.queue.fault === undefined) return 'no-buffers';
    this.#server.next();
    return 'fault';
  }
}

import type { QueueServer } from '../worker.ts';
import type { NetBackend } from './backend.ts';
import { FRAME_BYTES_MIN, HEADER_BYTES, PACKET_BYTES_MAX } from './constants.ts';
import { HeaderCheck } from './packet-header.ts';

/**
 * The driver's packets go to the backend, VIRTIO 1.1 §5.1.6.2. Each is copied, then judged, then sent; one that cannot be a packet
 * is dropped, as networks do. While the backend has no room the chains stay where they are.
 */
export class Transmission {
  /** The backend has no room: it is to be waited for until it is writable. */
  isBlocked = false;
  readonly #server: QueueServer;
  readonly #backend: NetBackend;
  readonly #packet = new Uint8Array(PACKET_BYTES_MAX);
  readonly #check: HeaderCheck;

  constructor(server: QueueServer, backend: NetBackend, features: bigint) {
    this.#server = server;
    this.#backend = backend;
    this.#check = new HeaderCheck(this.#packet, features);
  }

  onKick(): void {
    this.#server.takeKick();
    if (!this.isBlocked) this.run();
  }

  /** Sends packets until there are none, no room, or as many as the queue holds. */
  run(): void {
    this.isBlocked = !this.#backend.flush();
    const { queue, chain, reader, event } = this.#server;
    let left = queue.size;
    while (!this.isBlocked && this.#server.next()) {
      const sizeBytes = chain.readableBytes;
      if (sizeBytes >= HEADER_BYTES + FRAME_BYTES_MIN && sizeBytes <= PACKET_BYTES_MAX) {
        reader.read(this.#packet);
        if (this.#check.isGood(sizeBytes) && !this.#backend.send(this.#packet, sizeBytes)) {
          queue.undoPop();
          this.isBlocked = true;
          break;
        }
      }
      queue.addUsed(chain.head, 0);
      left -= 1;
      if (left === 0) {
        event.write();
        break;
      }
    }
    // The end of a frame may be left, with no further packet that would push it.
    if (!this.isBlocked) this.isBlocked = !this.#backend.flush();
    this.#server.signal();
  }
}

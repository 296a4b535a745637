import { EventFd } from '#poll/event-fd.ts';
import type { NetBackend, NetEnd } from '../net/backend.ts';
import { HEADER_BYTES } from '../net/constants.ts';

/** A network that a test fills and looks at. Its descriptor is readable while it holds packets, and never not writable. */
export class FakeNet implements NetBackend, Disposable {
  readonly features: bigint;
  end: NetEnd | undefined;
  used: bigint | undefined;
  isActive: boolean | undefined;
  /** Packets with their headers. */
  readonly sent: Uint8Array[] = [];
  /** How many more packets there is room for. */
  room = Number.POSITIVE_INFINITY;
  receiveCalls = 0;
  flushCalls = 0;
  readonly #waiting: Uint8Array[] = [];
  readonly #event = EventFd.create();

  constructor(features = 0n) {
    this.features = features;
  }

  get fd(): number {
    return this.#event.fd;
  }

  /** A packet for the guest: its header is zeros but for what is given. */
  arrive(frame: Uint8Array, header: Uint8Array = new Uint8Array(HEADER_BYTES)): void {
    this.#waiting.push(Uint8Array.from([...header, ...frame]));
    this.#event.write();
  }

  useFeatures(bits: bigint): void {
    this.used = bits;
  }

  setActive(isActive: boolean): void {
    this.isActive = isActive;
  }

  receive(): Uint8Array | undefined {
    this.receiveCalls += 1;
    const packet = this.#waiting.shift();
    if (this.#waiting.length === 0) this.#event.read();
    return packet;
  }

  send(packet: Uint8Array, sizeBytes: number): boolean {
    if (this.room === 0) return false;
    this.room -= 1;
    this.sent.push(packet.slice(0, sizeBytes));
    return true;
  }

  flush(): boolean {
    this.flushCalls += 1;
    return this.room > 0;
  }

  keepFds(): readonly number[] {
    return [this.fd];
  }

  [Symbol.dispose](): void {
    this.#event.close();
  }
}

/** A tap interface with IFF_VNET_HDR: packets with their virtio header, which the kernel makes and judges. */
import type { Fd } from '#sys/fd.ts';
import { addressOf } from '#sys/ffi.ts';
import { tryRead, tryWrite } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { attachTapQueue, DETACHED_ERRNO, setTapOffloads, TapOffload } from '#sys/tap.ts';
import type { NetBackend, NetEnd } from './backend.ts';
import { FRAME_BYTES_MIN, HEADER_BYTES, HeaderFlag, NetFeature, PACKET_BYTES_MAX } from './constants.ts';

const {
  CSUM,
  CTRL_GUEST_OFFLOADS,
  GUEST_CSUM,
  GUEST_TSO4,
  GUEST_TSO6,
  GUEST_ECN,
  GUEST_UFO,
  HOST_TSO4,
  HOST_TSO6,
  HOST_ECN,
  HOST_UFO,
} = NetFeature;
const FEATURES =
  CTRL_GUEST_OFFLOADS |
  CSUM |
  GUEST_CSUM |
  GUEST_TSO4 |
  GUEST_TSO6 |
  GUEST_ECN |
  GUEST_UFO |
  HOST_TSO4 |
  HOST_TSO6 |
  HOST_ECN |
  HOST_UFO;

/** What a write of one packet may fail with, the interface being as good as before: it is down, or will not have the packet. */
const PACKET_ERRORS: readonly string[] = ['EIO', 'EINVAL', 'EFAULT', 'ENOMEM', 'ENOBUFS'];

/** The offloads of the kernel for what the driver took; those without what they need, VIRTIO 1.1 §5.1.3.1, are left out. */
export function tapOffloads(features: bigint): number {
  const has = (feature: bigint, offload: number): number => ((features & feature) === 0n ? 0 : offload);
  if (has(GUEST_CSUM, 1) === 0) return 0;
  const segments = has(GUEST_TSO4, TapOffload.TSO4) | has(GUEST_TSO6, TapOffload.TSO6);
  const ecn = segments === 0 ? 0 : has(GUEST_ECN, TapOffload.TSO_ECN);
  return TapOffload.CSUM | segments | ecn | has(GUEST_UFO, TapOffload.UFO);
}

export class TapBackend implements NetBackend {
  readonly features = FEATURES;
  readonly #tap: Fd;
  readonly #input = new Uint8Array(PACKET_BYTES_MAX);
  readonly #inputAddress = addressOf(this.#input);
  #hasChecksums = false;
  #isActive = true;
  #end: NetEnd | undefined;

  /**
   * Takes over a non-blocking descriptor with IFF_VNET_HDR whose header size is that of `struct virtio_net_hdr`: a tap, or one queue
   * of it, which takes part in the distribution as the kernel makes it.
   */
  constructor(tap: Fd) {
    this.#tap = tap;
  }

  get fd(): number {
    return this.#tap.fd;
  }

  get end(): NetEnd | undefined {
    return this.#end;
  }

  useFeatures(bits: bigint): void {
    const offloads = tapOffloads(bits);
    this.#hasChecksums = offloads !== 0;
    this.#try(() => setTapOffloads(this.fd, offloads));
  }

  setActive(isActive: boolean): void {
    if (isActive === this.#isActive || this.#end !== undefined) return;
    this.#isActive = isActive;
    this.#try(() => attachTapQueue(this.fd, isActive));
  }

  receive(): Uint8Array | undefined {
    if (this.#end !== undefined) return undefined;
    try {
      const count = tryRead(this.fd, this.#inputAddress, PACKET_BYTES_MAX);
      if (count === undefined || count < HEADER_BYTES + FRAME_BYTES_MIN) return undefined;
      // §5.1.6.4.1: without GUEST_CSUM the flags are zero, also where the kernel has already looked at the checksum.
      if (!this.#hasChecksums) this.#input[0]! &= ~HeaderFlag.DATA_VALID;
      return this.#input.subarray(0, count);
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  send(packet: Uint8Array, sizeBytes: number): boolean {
    if (this.#end !== undefined) return true;
    try {
      return tryWrite(this.fd, packet, sizeBytes) !== undefined;
    } catch (error) {
      if (!(error instanceof SyscallError && PACKET_ERRORS.includes(error.code))) this.#fail(error);
      return true;
    }
  }

  flush(): boolean {
    return true;
  }

  keepFds(): readonly number[] {
    return [this.fd];
  }

  #try(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (!(error instanceof SyscallError)) throw error;
    this.#end = error.errno === DETACHED_ERRNO ? 'the interface was deleted' : error.message;
  }
}

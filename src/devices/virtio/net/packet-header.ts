/** What a driver may say in the header of a packet that it sends, VIRTIO 1.1 §5.1.6.2. */
import { viewOf } from '#util/struct.ts';
import { GsoType, HEADER_BYTES, HeaderFlag, NetFeature, PacketHeader } from './constants.ts';

/** The size of a checksum in TCP and UDP. */
const CHECKSUM_BYTES = 2;
const { flags: FLAGS, gsoType, hdrLen, gsoSize, csumStart, csumOffset } = PacketHeader.fields;

/** Judges headers by the features of a negotiation. The packets begin at the start of one buffer, which is refilled. */
export class HeaderCheck {
  readonly #view: DataView;
  readonly #mayNeedChecksum: boolean;
  /** Whether a `gso_type` was negotiated, by its value. */
  readonly #gsoTypes = new Uint8Array(0x100);

  constructor(packet: Uint8Array, features: bigint) {
    this.#view = viewOf(packet);
    const has = (feature: bigint): boolean => (features & feature) !== 0n;
    this.#mayNeedChecksum = has(NetFeature.CSUM);
    for (const [feature, type] of [
      [NetFeature.HOST_TSO4, GsoType.TCPV4],
      [NetFeature.HOST_TSO6, GsoType.TCPV6],
      [NetFeature.HOST_UFO, GsoType.UDP],
    ] as const) {
      if (!has(feature)) continue;
      this.#gsoTypes[type] = 1;
      if (has(NetFeature.HOST_ECN) && type !== GsoType.UDP) this.#gsoTypes[type | GsoType.ECN] = 1;
    }
  }

  /** Whether the header of the packet, which has `sizeBytes` with its header, says what the frame can be. */
  isGood(sizeBytes: number): boolean {
    const view = this.#view;
    const frameBytes = sizeBytes - HEADER_BYTES;
    const flags = FLAGS.get(view, 0);
    const type = gsoType.get(view, 0);
    if ((flags & ~HeaderFlag.NEEDS_CSUM) !== 0) return false;
    if (flags !== 0) {
      if (!this.#mayNeedChecksum) return false;
      if (csumStart.get(view, 0) + csumOffset.get(view, 0) + CHECKSUM_BYTES > frameBytes) return false;
    }
    if (type === GsoType.NONE) return true;
    // Every segment gets a checksum of its own.
    if (this.#gsoTypes[type] === 0 || flags === 0) return false;
    return gsoSize.get(view, 0) > 0 && hdrLen.get(view, 0) <= frameBytes;
  }
}

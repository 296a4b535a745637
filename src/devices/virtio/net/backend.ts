import type { HasFd } from '#sys/fd.ts';

/** Why a peer is gone, for people. */
export type NetEnd = string;

/**
 * The host's side of a network device. A packet is a frame behind a `struct virtio_net_hdr` of 12 bytes. The descriptor does not
 * block; it is readable when there may be packets and writable when `flush` or a refused `send` may be tried again. What the host
 * or the peer does never throws: the peer is gone, and `end` says why.
 */
export interface NetBackend extends HasFd {
  /** The feature bits that it adds, all of them for packets that are not finished or larger than a frame. */
  readonly features: bigint;
  /** Set once the peer is gone: nothing comes from then on, and what is sent is swallowed. */
  readonly end: NetEnd | undefined;
  /** What the driver took: before the first packet of each activation, and whenever the driver wants other offloads. */
  useFeatures(bits: bigint): void;
  /**
   * Takes part in the distribution of packets, or does not: for one of several over one interface, which begin without. What does not
   * take part is not asked for packets and gets none to send.
   */
  setActive(isActive: boolean): void;
  /** The next packet, valid until the next call; undefined when there is none now. Its header is the device's to complete. */
  receive(): Uint8Array | undefined;
  /** Sends the first `sizeBytes` of `packet`, which were judged; its header may be overwritten. False: there is no room now. */
  send(packet: Uint8Array, sizeBytes: number): boolean;
  /** Goes on with what `send` took and could not pass on; false while something is left. */
  flush(): boolean;
  /** Descriptors that a jailed device keeps. */
  keepFds(): readonly number[];
}

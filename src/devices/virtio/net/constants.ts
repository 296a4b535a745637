/** The network device's numbers, VIRTIO 1.1 §5.1. */
import { bytes, struct, u8, u16 } from '#util/struct.ts';

/** Feature bits, §5.1.3. */
export const NetFeature = {
  CSUM: 1n << 0n,
  GUEST_CSUM: 1n << 1n,
  CTRL_GUEST_OFFLOADS: 1n << 2n,
  MAC: 1n << 5n,
  GUEST_TSO4: 1n << 7n,
  GUEST_TSO6: 1n << 8n,
  GUEST_ECN: 1n << 9n,
  GUEST_UFO: 1n << 10n,
  HOST_TSO4: 1n << 11n,
  HOST_TSO6: 1n << 12n,
  HOST_ECN: 1n << 13n,
  HOST_UFO: 1n << 14n,
  MRG_RXBUF: 1n << 15n,
  STATUS: 1n << 16n,
  CTRL_VQ: 1n << 17n,
  CTRL_RX: 1n << 18n,
  CTRL_VLAN: 1n << 19n,
  CTRL_RX_EXTRA: 1n << 20n,
  MQ: 1n << 22n,
  CTRL_MAC_ADDR: 1n << 23n,
} as const;

/** `struct virtio_net_config`, §5.1.4, up to the last field that some feature here has. */
export const NetConfigSpace = struct({ mac: bytes(6), status: u16, maxVirtqueuePairs: u16 });

/** A bit of the configuration's status, §5.1.4. */
export const LINK_UP = 1;

/** Two queues for each pair, §5.1.2: `pair * QUEUES_PER_PAIR + NetQueue.RECEIVE`. */
export const NetQueue = { RECEIVE: 0, TRANSMIT: 1 } as const;
export const QUEUES_PER_PAIR = 2;
/** As many as there can be virtual processors; the specification allows 0x8000. */
export const QUEUE_PAIRS_MAX = 16;

const PAIR_QUEUE_SIZE = 256;
const CONTROL_QUEUE_SIZE = 64;

/** The sizes of the queues of a device with so many pairs: the control queue is the last. */
export function queueSizesOf(pairs: number): readonly number[] {
  return [...Array<number>(pairs * QUEUES_PER_PAIR).fill(PAIR_QUEUE_SIZE), CONTROL_QUEUE_SIZE];
}

/** The start of `struct virtio_net_ctrl`, §5.1.6.5; what the command says follows, and `ack`, which the device writes. */
export const ControlHeader = struct({ controlClass: u8, command: u8 });
export const ControlAck = { OK: 0, ERR: 1 } as const;

/** §5.1.6.5.1; the last four with CTRL_RX_EXTRA. */
export const ControlRx = { CLASS: 0, PROMISC: 0, ALLMULTI: 1, ALLUNI: 2, NOMULTI: 3, NOUNI: 4, NOBCAST: 5 } as const;
/** §5.1.6.5.2. */
export const ControlMac = { CLASS: 1, TABLE_SET: 0, ADDR_SET: 1 } as const;
/** §5.1.6.5.3. */
export const ControlVlan = { CLASS: 2, ADD: 0, DEL: 1 } as const;
/** §5.1.6.5.5. */
export const ControlMq = { CLASS: 4, VQ_PAIRS_SET: 0 } as const;
/** §5.1.6.5.6. */
export const ControlGuestOffloads = { CLASS: 5, SET: 0 } as const;

/** `struct virtio_net_hdr`, §5.1.6: before every frame, in both directions. */
export const PacketHeader = struct({
  flags: u8,
  gsoType: u8,
  hdrLen: u16,
  gsoSize: u16,
  csumStart: u16,
  csumOffset: u16,
  numBuffers: u16,
});
export const HEADER_BYTES = PacketHeader.size;

/** Bits of `flags`, §5.1.6. */
export const HeaderFlag = { NEEDS_CSUM: 1, DATA_VALID: 2 } as const;

/** `gso_type`, §5.1.6; ECN is a bit beside a TCP type. */
export const GsoType = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, ECN: 0x80 } as const;

export const MAC_BYTES = 6;
/** IEEE 802 §8.2.2: the bit of an address's first byte that says it is that of a group. */
export const MAC_GROUP = 1;

/** Addresses and type of an Ethernet frame: less is none. */
export const FRAME_BYTES_MIN = 14;
/** An IP packet of 64 KiB less one byte, behind an Ethernet header with a VLAN tag. */
export const FRAME_BYTES_MAX = 0xffff + 18;
export const PACKET_BYTES_MAX = HEADER_BYTES + FRAME_BYTES_MAX;

/** The socket device's numbers, VIRTIO 1.1 §5.10. */
import { KiB } from '#util/bits.ts';
import { struct, u16, u32, u64AsNumber } from '#util/struct.ts';

/** `struct virtio_vsock_config`, §5.10.4. */
export const VsockConfig = struct({ guestCid: u64AsNumber });

/** Queues, §5.10.2. */
export const VsockQueue = { RECEIVE: 0, TRANSMIT: 1, EVENT: 2 } as const;

export const QUEUE_SIZES = [256, 256, 64] as const;

/** `struct virtio_vsock_hdr`, §5.10.6: in front of every packet. */
export const VsockHeader = struct(
  {
    srcCid: u64AsNumber,
    dstCid: u64AsNumber,
    srcPort: u32,
    dstPort: u32,
    len: u32,
    type: u16,
    op: u16,
    flags: u32,
    bufAlloc: u32,
    fwdCnt: u32,
  },
  { packed: true },
);

/** §5.10.6. */
export const Operation = {
  REQUEST: 1,
  RESPONSE: 2,
  RST: 3,
  SHUTDOWN: 4,
  RW: 5,
  CREDIT_UPDATE: 6,
  CREDIT_REQUEST: 7,
} as const;

/** §5.10.6.2: the only type of socket there is. */
export const TYPE_STREAM = 1;

/** Flags of SHUTDOWN, §5.10.6.5: what the sender of the packet will no longer do. */
export const ShutdownFlag = { RECEIVE: 1, SEND: 2, BOTH: 3 } as const;

/** §5.10.4: the host's context; below it are reserved ones, and the highest 32-bit number is "any". */
export const HOST_CID = 2;
export const GUEST_CID = { min: 3, max: 0xffff_fffe } as const;

/** No port: Linux's VMADDR_PORT_ANY. */
export const PORT_ANY = 0xffff_ffff;
/** Ports of the host's ends of connections that the host began count from here, as Firecracker's do. */
export const FIRST_HOST_PORT = 0x4000_0000;

/** What a connection keeps for a host that does not read: what the guest is told as `buf_alloc`. */
export const BUFFER_BYTES = 64 * KiB;
/** The most bytes of a packet, as Linux has it. */
export const PACKET_BYTES_MAX = 64 * KiB;
/** Together with the handshakes below a process's limit of 1024 descriptors. */
export const CONNECTIONS_MAX = 512;
/** Peers of the host that have not yet said which port they want. */
export const HANDSHAKES_MAX = 64;
/** Packets whose answer is RST and waits for a buffer; with more the transmit queue waits, §5.10.6.1.1. */
export const RESETS_MAX = 256;

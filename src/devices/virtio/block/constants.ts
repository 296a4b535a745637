/** The block device's numbers, VIRTIO 1.1 §5.2. */
import { MiB } from '#util/bits.ts';
import { array, bytes, struct, u8, u16, u32, u64AsNumber } from '#util/struct.ts';

/** The unit of all positions, whatever the block size, §5.2.4. */
export const SECTOR_BYTES = 512;

/** Feature bits, §5.2.3. */
export const BlockFeature = {
  SEG_MAX: 1n << 2n,
  RO: 1n << 5n,
  BLK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
  MQ: 1n << 12n,
  DISCARD: 1n << 13n,
  WRITE_ZEROES: 1n << 14n,
} as const;

/** Request types, §5.2.6; GET_ID is of Linux, uapi/linux/virtio_blk.h. */
export const RequestType = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;

/** The last byte of a request, §5.2.6. */
export const RequestStatus = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** `struct virtio_blk_req` up to the data, §5.2.6. */
export const RequestHeader = struct({ type: u32, reserved: u32, sector: u64AsNumber });

/** `struct virtio_blk_discard_write_zeroes`, §5.2.6. */
export const Segment = struct({ sector: u64AsNumber, numSectors: u32, flags: u32 });

/** The bit `unmap` of a segment's flags, §5.2.6. */
export const SEGMENT_UNMAP = 1;

/** The answer to GET_ID: a string that ends at a NUL or after so many bytes. */
export const ID_BYTES = 20;

/** `struct virtio_blk_config`, §5.2.4. */
export const BlockConfig = struct({
  capacity: u64AsNumber,
  sizeMax: u32,
  segMax: u32,
  geometry: bytes(4),
  blkSize: u32,
  topology: array(u32, 2),
  writeback: u8,
  unused0: u8,
  numQueues: u16,
  maxDiscardSectors: u32,
  maxDiscardSeg: u32,
  discardSectorAlignment: u32,
  maxWriteZeroesSectors: u32,
  maxWriteZeroesSeg: u32,
  writeZeroesMayUnmap: u8,
  unused1: bytes(3),
});

export const QUEUE_SIZE = 256;

/** Header and status take two descriptors of the queue. */
export const SEG_MAX = QUEUE_SIZE - 2;

/** Segments of one DISCARD or WRITE_ZEROES. */
export const SEGMENTS_MAX = 32;

/** The most data of one request: the device does nothing else meanwhile. Linux asks for 4 MiB at most, unless told otherwise. */
export const REQUEST_BYTES_MAX = 256 * MiB;

/** 512 MiB: an image with tables has each cluster of them to free, and 32 segments go into a request. */
export const DISCARD_SECTORS_MAX = 0x10_0000;

/** 8 MiB: where the file system cannot make zeros they are written while the device does nothing else, 32 segments a request. */
export const WRITE_ZEROES_SECTORS_MAX = 0x4000;

/** Discards of less than 64 KiB free little. */
export const DISCARD_ALIGNMENT_SECTORS = 128;

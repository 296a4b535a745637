import { DiskError, type DiskFile } from '#disk/disk-file.ts';
import { IoVectors } from '#disk/io-vectors.ts';
import type { VolatileSlice } from '#memory/volatile-slice.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import type { Log } from '#util/log.ts';
import { viewOf } from '#util/struct.ts';
import type { ChainReader, ChainWriter } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { QueueFault } from '../queue/queue-fault.ts';
import type { RequestHandler } from '../worker.ts';
import {
  BlockFeature,
  DISCARD_SECTORS_MAX,
  ID_BYTES,
  REQUEST_BYTES_MAX,
  RequestHeader,
  RequestStatus,
  RequestType,
  SECTOR_BYTES,
  SEGMENT_UNMAP,
  SEGMENTS_MAX,
  Segment,
  WRITE_ZEROES_SECTORS_MAX,
} from './constants.ts';

const STATUS_BYTES = 1;
const { type: TYPE, sector: SECTOR } = RequestHeader.fields;

type Status = (typeof RequestStatus)[keyof typeof RequestStatus];

export interface BlockRequestsOptions {
  readonly disk: DiskFile;
  /** The answer to GET_ID, ID_BYTES long. */
  readonly id: Uint8Array;
  /** Those of the negotiation. */
  readonly features: bigint;
  /** False when the image's space is to stay allocated. */
  readonly mayUnmap: boolean;
  readonly log: Log;
}

/** The requests of one queue. Every request that has room for a status gets one. */
export class BlockRequests implements RequestHandler {
  readonly #options: BlockRequestsOptions;
  readonly #disk: DiskFile;
  readonly #vectors: IoVectors;
  /** Without FLUSH the driver takes what is complete for durable, §5.2.5. */
  readonly #writesThrough: boolean;
  readonly #header = new Uint8Array(RequestHeader.size);
  readonly #headerView = viewOf(this.#header);
  readonly #segments = new Uint8Array(SEGMENTS_MAX * Segment.size);
  readonly #segmentsView = viewOf(this.#segments);
  readonly #status = new Uint8Array(STATUS_BYTES);
  /** Data bytes that the current request has written. */
  #written = 0;

  /** `memory` is all RAM; `buffersMax` the most buffers of a chain. */
  constructor(memory: VolatileSlice, buffersMax: number, options: BlockRequestsOptions) {
    this.#options = options;
    this.#disk = options.disk;
    this.#vectors = new IoVectors(memory, buffersMax);
    this.#writesThrough = (options.features & BlockFeature.FLUSH) === 0n;
  }

  handle(chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number | QueueFault {
    const dataBytes = chain.writableBytes - STATUS_BYTES;
    if (dataBytes < 0) return 'NO_ROOM_FOR_ANSWER';
    this.#written = 0;
    const status = this.#guardedStatus(reader, writer, dataBytes);
    this.#status[0] = status;
    writer.begin(chain, dataBytes);
    writer.write(this.#status);
    // The used length counts from the first byte on: with data that were not written, only the status counts.
    return this.#written === dataBytes ? dataBytes + STATUS_BYTES : STATUS_BYTES;
  }

  #guardedStatus(reader: ChainReader, writer: ChainWriter, dataBytes: number): Status {
    try {
      return this.#execute(reader, writer, dataBytes);
    } catch (error) {
      if (!(error instanceof DiskError || error instanceof SyscallError)) throw error;
      this.#options.log.error(`a request failed: ${error.message}`);
      return RequestStatus.IOERR;
    }
  }

  #execute(reader: ChainReader, writer: ChainWriter, dataBytes: number): Status {
    if (reader.read(this.#header) < RequestHeader.size) return RequestStatus.IOERR;
    if (Math.max(dataBytes, reader.remaining) > REQUEST_BYTES_MAX) return RequestStatus.IOERR;
    const sector = SECTOR.get(this.#headerView, 0);
    switch (TYPE.get(this.#headerView, 0)) {
      case RequestType.IN:
        return this.#read(writer, sector, dataBytes);
      case RequestType.OUT:
        return this.#write(reader, sector);
      case RequestType.FLUSH:
        if (!this.#disk.isReadOnly) this.#disk.flush();
        return RequestStatus.OK;
      case RequestType.GET_ID:
        return this.#identify(writer, dataBytes);
      case RequestType.DISCARD:
        return this.#changeSegments(reader, BlockFeature.DISCARD);
      case RequestType.WRITE_ZEROES:
        return this.#changeSegments(reader, BlockFeature.WRITE_ZEROES);
      default:
        return RequestStatus.UNSUPP;
    }
  }

  #read(writer: ChainWriter, sector: number, sizeBytes: number): Status {
    if (sizeBytes % SECTOR_BYTES !== 0 || !this.#contains(sector, sizeBytes / SECTOR_BYTES)) return RequestStatus.IOERR;
    const vectors = this.#vectors;
    vectors.clear();
    writer.vectors(vectors, sizeBytes);
    this.#disk.readAt(sector * SECTOR_BYTES, vectors);
    this.#written = sizeBytes;
    return RequestStatus.OK;
  }

  #write(reader: ChainReader, sector: number): Status {
    const sizeBytes = reader.remaining;
    if (this.#disk.isReadOnly || sizeBytes % SECTOR_BYTES !== 0) return RequestStatus.IOERR;
    if (!this.#contains(sector, sizeBytes / SECTOR_BYTES)) return RequestStatus.IOERR;
    const vectors = this.#vectors;
    vectors.clear();
    reader.vectors(vectors, sizeBytes);
    this.#disk.writeAt(sector * SECTOR_BYTES, vectors);
    if (this.#writesThrough) this.#disk.flush();
    return RequestStatus.OK;
  }

  #identify(writer: ChainWriter, dataBytes: number): Status {
    this.#written = writer.write(this.#options.id, Math.min(ID_BYTES, dataBytes));
    return RequestStatus.OK;
  }

  /** DISCARD and WRITE_ZEROES: all segments are judged before the first is carried out. */
  #changeSegments(reader: ChainReader, feature: bigint): Status {
    if ((this.#options.features & feature) === 0n) return RequestStatus.UNSUPP;
    if (this.#disk.isReadOnly) return RequestStatus.IOERR;
    const isDiscard = feature === BlockFeature.DISCARD;
    const sizeBytes = reader.remaining;
    if (sizeBytes === 0 || sizeBytes % Segment.size !== 0 || sizeBytes > this.#segments.length)
      return RequestStatus.IOERR;
    reader.read(this.#segments);
    for (let at = 0; at < sizeBytes; at += Segment.size) {
      const status = this.#judge(at, isDiscard);
      if (status !== RequestStatus.OK) return status;
    }
    for (let at = 0; at < sizeBytes; at += Segment.size) this.#change(at, isDiscard);
    if (this.#writesThrough) this.#disk.flush();
    return RequestStatus.OK;
  }

  /** §5.2.6.2: unknown flags, and unmap for a discard, are unsupported. */
  #judge(at: number, isDiscard: boolean): Status {
    const { sector, numSectors, flags } = Segment.fields;
    const known = isDiscard ? 0 : SEGMENT_UNMAP;
    if ((flags.get(this.#segmentsView, at) & ~known) !== 0) return RequestStatus.UNSUPP;
    const count = numSectors.get(this.#segmentsView, at);
    if (count > (isDiscard ? DISCARD_SECTORS_MAX : WRITE_ZEROES_SECTORS_MAX)) return RequestStatus.IOERR;
    return this.#contains(sector.get(this.#segmentsView, at), count) ? RequestStatus.OK : RequestStatus.IOERR;
  }

  #change(at: number, isDiscard: boolean): void {
    const { sector, numSectors, flags } = Segment.fields;
    const sizeBytes = numSectors.get(this.#segmentsView, at) * SECTOR_BYTES;
    if (sizeBytes === 0) return;
    const range = { offset: sector.get(this.#segmentsView, at) * SECTOR_BYTES, sizeBytes };
    if (isDiscard) this.#disk.discard(range);
    else {
      const asked = (flags.get(this.#segmentsView, at) & SEGMENT_UNMAP) !== 0;
      this.#disk.writeZeroes(range, asked && this.#options.mayUnmap);
    }
  }

  /** Without a sum: a sector of the guest may be any 64-bit number. */
  #contains(sector: number, count: number): boolean {
    const capacity = Math.floor(this.#disk.lengthBytes / SECTOR_BYTES);
    return sector <= capacity && count <= capacity - sector;
  }
}

/** The devices that a hostile guest tries its cases at: a new kind of device is one more line of TARGETS. */
import { RequestHeader, RequestType } from '#devices/virtio/block/constants.ts';
import { receiveQueueOf } from '#devices/virtio/console/constants.ts';
import { InHeader, InitIn, InitOut, Opcode, OutHeader } from '#devices/virtio/fs/constants.ts';
import { InputEvent, InputQueue } from '#devices/virtio/input/constants.ts';
import { HEADER_BYTES } from '#devices/virtio/net/constants.ts';
import { PmemRequest, PmemRequestType, PmemResponse, PmemStatus } from '#devices/virtio/pmem/constants.ts';
import type { MockBuffer, MockChain, UsedElement } from '#devices/virtio/testing/mock-queue.ts';
import { HOST_CID, Operation, VsockHeader } from '#devices/virtio/vsock/constants.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';

/** What the guest says as its address on the socket device. */
export const GUEST_CID = 42;
/** A port of the host at which somebody listens. */
export const HOST_PORT = 1024;
/** One at which somebody takes connections and reads nothing. */
export const SILENT_PORT = 1025;
/** The number of the console's port whose peer reads nothing; the first one's output goes nowhere. */
export const SILENT_CONSOLE_PORT = 1;
/** A page that nothing lies in: for the balloon. */
export const FREE_PAGE = 0x20;

export interface Target {
  /** As DeviceSet calls it. */
  readonly name: string;
  /** The number of the queue that takes requests. */
  readonly queue: number;
  /** A request that the device has to answer. */
  readonly request: () => readonly MockBuffer[];
  /** Whether it was answered well; that it came back is known. */
  readonly isGood?: (memory: GuestMemory, chain: MockChain, used: UsedElement) => boolean;
}

const RNG_BYTES = 16;
export const SECTOR_BYTES = 512;
const FRAME_BYTES = 60;

export const readable = (bytes: Uint8Array): MockBuffer => ({ readable: bytes });
export const writable = (writableBytes: number): MockBuffer => ({ writableBytes });

export function blockHeader(type: number, sector: number | bigint): Uint8Array {
  const bytes = RequestHeader.encode({ type, sector: 0 });
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(RequestHeader.fields.sector.offset, BigInt(sector), true);
  return bytes;
}

export type VsockFields = Partial<Parameters<typeof VsockHeader.encode>[0]>;

export function vsockHeader(fields: VsockFields): Uint8Array {
  return VsockHeader.encode({ srcCid: GUEST_CID, dstCid: HOST_CID, type: 1, bufAlloc: 0x1_0000, ...fields });
}

const pageNumber = (page: number): Uint8Array => new Uint8Array(Uint32Array.of(page).buffer);

const readSector = (): MockBuffer[] => [readable(blockHeader(RequestType.IN, 0)), writable(SECTOR_BYTES), writable(1)];
const statusIsOk: Target['isGood'] = (memory, { addresses }) => memory.readU8(addresses[2] ?? 0) === 0;

const flush = (): MockBuffer[] => [
  readable(PmemRequest.encode({ type: PmemRequestType.FLUSH })),
  writable(PmemResponse.size),
];
const isDurable: Target['isGood'] = (memory, { addresses }) => memory.readU32(addresses[1] ?? 0) === PmemStatus.OK;
/** INIT: the answer to a first request, also of a device that has been reset. */
const beginSession = (): MockBuffer[] => {
  const body = InitIn.encode({ major: 7, minor: 38 });
  const header = InHeader.encode({ len: InHeader.size + body.length, opcode: Opcode.INIT });
  return [readable(header), readable(body), writable(OutHeader.size), writable(InitOut.size)];
};
const fuseIsOk: Target['isGood'] = (memory, { addresses }) =>
  memory.readU32((addresses[2] ?? 0) + OutHeader.fields.error.offset) === 0;

export const TARGETS: readonly Target[] = [
  { name: 'rng', queue: 0, request: () => [writable(RNG_BYTES)], isGood: (...[, , used]) => used.length === RNG_BYTES },
  { name: 'block0', queue: 0, request: readSector, isGood: statusIsOk },
  { name: 'block1', queue: 0, request: readSector, isGood: statusIsOk },
  { name: 'net0', queue: 1, request: () => [readable(new Uint8Array(HEADER_BYTES + FRAME_BYTES))] },
  { name: 'console', queue: receiveQueueOf(0) + 1, request: () => [readable(new Uint8Array(FRAME_BYTES))] },
  { name: 'input0', queue: InputQueue.STATUS, request: () => [readable(new Uint8Array(InputEvent.size))] },
  { name: 'fs0', queue: 1, request: beginSession, isGood: fuseIsOk },
  { name: 'vsock', queue: 1, request: () => [readable(vsockHeader({ op: Operation.RST }))] },
  { name: 'pmem0', queue: 0, request: flush, isGood: isDurable },
  { name: 'balloon', queue: 0, request: () => [readable(pageNumber(FREE_PAGE))] },
];

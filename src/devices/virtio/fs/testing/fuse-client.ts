import { EventFd } from '#poll/event-fd.ts';
import { viewOf } from '#util/struct.ts';
import { Feature } from '../../constants.ts';
import { Queue } from '../../queue/queue.ts';
import { RecordedInterrupt } from '../../testing/fakes.ts';
import { createMemory, HOLE } from '../../testing/memory.ts';
import { type MockBuffer, MockQueue } from '../../testing/mock-queue.ts';
import type { Worker } from '../../worker.ts';
import { InHeader, InitIn, Opcode, OutHeader, ROOT_ID, VERSION } from '../constants.ts';
import { Fs, type FsResources } from '../fs.ts';
import { NAMESPACE_IDS } from '../ids.ts';
import { MemoryHost } from './memory-host.ts';

export const QUEUE_SIZE = 256;
const ROOM_BYTES = 4096;

export interface FuseReply {
  /** Negative or 0. */
  readonly error: number;
  readonly data: Uint8Array;
  readonly view: DataView<ArrayBuffer>;
}

export interface Request {
  readonly opcode: number;
  readonly nodeid?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Structures and texts, one after the other. */
  readonly parts?: readonly (Uint8Array | string)[];
  /** Bytes of the answer that there is room for besides its header; 'none': not even for that. */
  readonly room?: number | 'none';
}

/** A guest's kernel with a device over a directory in memory. */
export class FuseClient implements Disposable {
  readonly memory = createMemory(0x40_0000);
  readonly interrupt = new RecordedInterrupt();
  readonly host: MemoryHost;
  readonly device: Fs;
  readonly driver = new MockQueue(this.memory, { size: QUEUE_SIZE, start: HOLE.end });
  readonly #events = [EventFd.create(), EventFd.create()];
  readonly #worker: Worker;
  #unique = 0n;

  constructor(changes: Partial<FsResources> = {}, host = new MemoryHost()) {
    this.host = host;
    const defaults = { tag: 'tag', readOnly: false, cache: 'auto', timeoutSeconds: 5, writeback: false } as const;
    const limits = { givesAway: false, ids: NAMESPACE_IDS, inodesMax: 1000, filesMax: 100 };
    this.device = new Fs({ ...defaults, ...limits, openHost: () => this.host, ...changes });
    const queue = new Queue(this.memory, this.driver.config(), Feature.RING_INDIRECT_DESC);
    this.#worker = this.device.activate(this.memory, this.interrupt, [undefined, queue], this.#events);
  }

  /** A client whose session has begun. */
  static started(changes: Partial<FsResources> = {}, flags = 0xffff_ffff): FuseClient {
    const client = new FuseClient(changes);
    client.init(flags);
    return client;
  }

  init(flags: number, version: { major?: number; minor?: number } = {}): FuseReply {
    const { major = VERSION.MAJOR, minor = 38 } = version;
    return this.ask({
      opcode: Opcode.INIT,
      nodeid: 0,
      parts: [InitIn.encode({ major, minor, maxReadahead: 7, flags })],
    });
  }

  /** Sends a request and takes the answer. */
  ask(request: Request): FuseReply {
    const reply = this.send(request);
    if (reply === undefined) throw new Error('no answer');
    return reply;
  }

  /** As `ask`; undefined without an answer. */
  send({ opcode, nodeid = ROOT_ID, uid = 0, gid = 0, parts = [], room = ROOM_BYTES }: Request): FuseReply | undefined {
    const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)));
    const unique = new Uint8Array(new BigUint64Array([++this.#unique]).buffer);
    const header = InHeader.encode({ len: InHeader.size + body.length, opcode, nodeid, unique, uid, gid });
    const rooms = room === 'none' ? [] : [OutHeader.size, room];
    const writable = rooms.filter((size) => size > 0).map((writableBytes) => ({ writableBytes }));
    const readable = body.length > 0 ? [{ readable: header }, { readable: body }] : [{ readable: header }];
    return this.exchange([...readable, ...writable], unique);
  }

  /** Any chain; undefined when it was given back without an answer, or not at all. */
  exchange(buffers: readonly MockBuffer[], unique?: Uint8Array): FuseReply | undefined {
    const { addresses } = this.driver.addIndirect(...buffers);
    this.kick();
    const used = this.driver.takeUsed();
    if (used === undefined || used.length === 0) return undefined;
    const bytes = Buffer.concat(
      buffers.map((buffer, at) =>
        'writableBytes' in buffer ? this.driver.bytes(addresses[at] ?? 0, buffer.writableBytes) : Buffer.alloc(0),
      ),
    ).subarray(0, used.length);
    const reply = Uint8Array.from(bytes);
    const { len, error, unique: UNIQUE } = OutHeader.fields;
    const view = viewOf(reply);
    if (len.get(view, 0) !== used.length) throw new Error('a length that is not that of the answer');
    if (unique !== undefined && Buffer.compare(UNIQUE.get(view, 0), unique) !== 0) throw new Error('another answer');
    const data = reply.slice(OutHeader.size);
    return { error: error.get(view, 0), data, view: viewOf(data) };
  }

  kick(): void {
    this.#events[1]?.write();
    this.#worker.turn(0);
  }

  [Symbol.dispose](): void {
    this.#worker[Symbol.dispose]();
    for (const event of this.#events) event.close();
    this.memory.close();
  }
}

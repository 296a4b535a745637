/** The FUSE server: takes a request out of a chain, has its operation carried out, writes the answer. */
import { IoVectors } from '#disk/io-vectors.ts';
import type { VolatileSlice } from '#memory/volatile-slice.ts';
import { Errno } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import type { ChainReader, ChainWriter } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { QueueFault } from '../queue/queue-fault.ts';
import type { RequestHandler } from '../worker.ts';
import { BatchForgetIn, ForgetOne, MAX_PAGES, Opcode, OutHeader, PAGE_BYTES, ReadIn, WriteIn } from './constants.ts';
import type { FuseContext, Operation } from './context.ts';
import { ATTRIBUTE_OPERATIONS } from './operations/attributes.ts';
import { DIRECTORY_OPERATIONS } from './operations/directories.ts';
import { answerWritten, FILE_OPERATIONS } from './operations/files.ts';
import { init } from './operations/init.ts';
import { NAME_OPERATIONS } from './operations/names.ts';

const DATA_MAX_BYTES = MAX_PAGES * PAGE_BYTES;

function batchForget(context: FuseContext): number {
  const { request, inodes } = context;
  const at = request.take(BatchForgetIn.size);
  if (at < 0) return 0;
  for (let left = BatchForgetIn.fields.count.get(request.view, at); left > 0; left--) {
    const one = request.take(ForgetOne.size);
    if (one < 0) return 0;
    inodes.forget(ForgetOne.fields.nodeid.get(request.view, one), ForgetOne.fields.nlookup.get(request.view, one));
  }
  return 0;
}

function destroy(context: FuseContext): number {
  context.forgetAll();
  return 0;
}

const OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  [Opcode.INIT, init],
  [Opcode.DESTROY, destroy],
  [Opcode.BATCH_FORGET, batchForget],
  ...NAME_OPERATIONS,
  ...ATTRIBUTE_OPERATIONS,
  ...FILE_OPERATIONS,
  ...DIRECTORY_OPERATIONS,
]);

/** Operations that change what is on the host; opening for writing is judged when it happens. */
const CHANGING: ReadonlySet<number> = new Set([
  Opcode.SETATTR,
  Opcode.SYMLINK,
  Opcode.MKNOD,
  Opcode.MKDIR,
  Opcode.UNLINK,
  Opcode.RMDIR,
  Opcode.RENAME,
  Opcode.RENAME2,
  Opcode.LINK,
  Opcode.CREATE,
  Opcode.WRITE,
  Opcode.SETXATTR,
  Opcode.REMOVEXATTR,
  Opcode.FALLOCATE,
  Opcode.COPY_FILE_RANGE,
]);

const isUnanswered = (opcode: number): boolean => opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET;

/** The requests of one queue. Every request that has room for an answer gets one, but those that are not answered. */
export class FuseServer implements RequestHandler {
  readonly #context: FuseContext;
  readonly #vectors: IoVectors;
  readonly #header = new Uint8Array(new ArrayBuffer(OutHeader.size));
  readonly #headerView = viewOf(this.#header);

  /** `memory` is all RAM; `buffersMax` the most buffers of a chain. The context is that of all queues. */
  constructor(context: FuseContext, memory: VolatileSlice, buffersMax: number) {
    this.#context = context;
    this.#vectors = new IoVectors(memory, buffersMax);
  }

  handle(chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number | QueueFault {
    const context = this.#context;
    const { request } = context;
    const room = chain.writableBytes - OutHeader.size;
    context.room = Math.max(0, room);
    const isGood = request.readHeader(reader);
    const { opcode } = request;
    // What it would interrupt has been answered already.
    if (isGood && opcode === Opcode.INTERRUPT && room < 0) return 0;
    if (room < 0 && !(isGood && isUnanswered(opcode))) return 'NO_ROOM_FOR_ANSWER';
    const result = isGood ? this.#execute(chain, reader, writer) : -Errno.EINVAL;
    if (isGood && isUnanswered(opcode)) return 0;
    return this.#answer(chain, writer, result);
  }

  /** The size of what follows the header, or a negative errno. That of READ is in the guest's memory already. */
  #execute(chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number {
    const context = this.#context;
    const { request, options } = context;
    const { opcode } = request;
    if (!context.isInitialized && opcode !== Opcode.INIT) return -Errno.EIO;
    if (options.readOnly && CHANGING.has(opcode)) return -Errno.EROFS;
    if (opcode === Opcode.READ) return this.#read(chain, reader, writer);
    if (opcode === Opcode.WRITE) return this.#write(reader);
    const operation = OPERATIONS.get(opcode);
    if (operation === undefined) return -Errno.ENOSYS;
    return request.readArguments(reader) ? operation(context) : -Errno.E2BIG;
  }

  #read(chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number {
    const { request, files, host, room } = this.#context;
    if (!request.readArguments(reader)) return -Errno.E2BIG;
    const at = request.take(ReadIn.size);
    if (at < 0) return -Errno.EINVAL;
    const { fh, offset: OFFSET, size } = ReadIn.fields;
    const file = files.file(fh.get(request.view, at));
    if (file === undefined) return -Errno.EBADF;
    const offset = OFFSET.get(request.view, at);
    const sizeBytes = Math.min(size.get(request.view, at), room, DATA_MAX_BYTES);
    if (!Number.isSafeInteger(offset + sizeBytes)) return -Errno.EINVAL;
    if (sizeBytes === 0) return 0;
    const vectors = this.#vectors;
    vectors.clear();
    writer.begin(chain, OutHeader.size);
    writer.vectors(vectors, sizeBytes);
    return host.read(file.fd, vectors, offset);
  }

  #write(reader: ChainReader): number {
    const context = this.#context;
    const { request, files, host } = context;
    request.readArguments(reader, Math.min(WriteIn.size, reader.remaining));
    const at = request.take(WriteIn.size);
    if (at < 0) return -Errno.EINVAL;
    const { fh, offset: OFFSET, size } = WriteIn.fields;
    const file = files.file(fh.get(request.view, at));
    if (file === undefined) return -Errno.EBADF;
    const [offset, sizeBytes] = [OFFSET.get(request.view, at), size.get(request.view, at)];
    if (sizeBytes > reader.remaining || sizeBytes > DATA_MAX_BYTES) return -Errno.EINVAL;
    if (!Number.isSafeInteger(offset + sizeBytes)) return -Errno.EFBIG;
    if (sizeBytes === 0) return answerWritten(context, 0);
    const vectors = this.#vectors;
    vectors.clear();
    reader.vectors(vectors, sizeBytes);
    const count = host.write(file.fd, vectors, offset);
    return count < 0 ? count : answerWritten(context, count);
  }

  #answer(chain: DescriptorChain, writer: ChainWriter, result: number): number {
    const { request, reply, room } = this.#context;
    const isRead = request.opcode === Opcode.READ;
    // A structure that does not fit cannot be cut.
    const outcome = result > room ? -Errno.EINVAL : result;
    const dataBytes = Math.max(0, outcome);
    const { len, error, unique } = OutHeader.fields;
    len.set(this.#headerView, 0, OutHeader.size + dataBytes);
    error.set(this.#headerView, 0, Math.min(0, outcome));
    unique.set(this.#headerView, 0, request.unique);
    writer.begin(chain);
    writer.write(this.#header);
    if (!isRead && dataBytes > 0) writer.write(reply, dataBytes);
    return OutHeader.size + dataBytes;
  }
}

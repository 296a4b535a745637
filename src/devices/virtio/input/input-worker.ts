import type { Watch } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import type { HasFd } from '#sys/fd.ts';
import { EventWorker, type QueueServer, type Worker } from '../worker.ts';
import { InputEvent, QUEUE_SIZES } from './constants.ts';
import type { EventFrames } from './event-frames.ts';
import type { InputSource } from './input-source.ts';
import type { StatusOutput } from './status-output.ts';

type Token = 'event' | 'status' | 'source';
const tokens = namedTokens('event', 'status', 'source');
/** What one turn reads: the process has other work too. */
const READ_BYTES = 4096;

export interface InputWorkerParts {
  readonly source: InputSource;
  readonly frames: EventFrames;
  readonly status: StatusOutput;
  /** Where the driver has enabled them. */
  readonly eventQueue: QueueServer | undefined;
  readonly statusQueue: QueueServer | undefined;
  /** After each turn. */
  readonly onTurn: () => void;
}

/** Events from the source to the guest, status events back. */
class InputWork {
  readonly #parts: InputWorkerParts;
  readonly #read = new Uint8Array(READ_BYTES);
  readonly #event = new Uint8Array(InputEvent.size);
  readonly #heads = new Uint16Array(QUEUE_SIZES[0]);
  #worker: EventWorker<Token> | undefined;
  #watch: Watch | undefined;

  constructor(parts: InputWorkerParts) {
    this.#parts = parts;
  }

  begin(worker: EventWorker<Token>): void {
    this.#worker = worker;
    this.#deliver();
    this.#update();
  }

  handle(token: Token): void {
    const { source, frames, status, eventQueue, statusQueue, onTurn } = this.#parts;
    if (token === 'status') statusQueue?.serve(status);
    else if (token === 'event') eventQueue?.takeKick();
    else {
      status.flush();
      frames.push(this.#read, source.read(this.#read));
      if (source.end !== undefined) frames.endSource();
    }
    this.#deliver();
    this.#update();
    onTurn();
  }

  /** Whole frames, as long as the guest has a buffer for each of their events. */
  #deliver(): void {
    const { frames, eventQueue } = this.#parts;
    if (eventQueue === undefined) return;
    for (;;) {
      if (frames.nextSize > eventQueue.queue.size) frames.dropNext();
      else if (frames.nextSize > 0 && this.#deliverFrame(eventQueue)) frames.shift();
      else break;
    }
    eventQueue.signal();
  }

  /** False when nothing of the frame has reached the guest. */
  #deliverFrame(server: QueueServer): boolean {
    const { frames } = this.#parts;
    const { queue, chain, writer } = server;
    const size = frames.nextSize;
    for (let index = 0; index < size; index++) {
      const isThere = server.next();
      if (isThere && chain.writableBytes < InputEvent.size) server.fail('NO_ROOM_FOR_ANSWER');
      if (!isThere || queue.fault !== undefined) {
        queue.undoPop(index);
        return false;
      }
      frames.copyEvent(index, this.#event);
      writer.write(this.#event);
      this.#heads[index] = chain.head;
    }
    for (let index = 0; index < size; index++) queue.stageUsed(this.#heads[index]!, InputEvent.size);
    queue.publishUsed();
    return true;
  }

  /** A descriptor that is waited for reports a hangup whatever is asked: one that has ended is taken out. */
  #update(): void {
    const { source, status } = this.#parts;
    const wanted: Watch | undefined = source.end !== undefined ? undefined : status.isBlocked ? 'both' : 'readable';
    if (wanted === this.#watch) return;
    if (wanted === undefined) this.#worker?.remove(source);
    else if (this.#watch === undefined) this.#worker?.add(source, 'source', wanted);
    else this.#worker?.modify(source, 'source', wanted);
    this.#watch = wanted;
  }
}

/** Throws SyscallError when the host refuses what the work needs. */
export function createInputWorker(parts: InputWorkerParts): Worker {
  const { eventQueue, statusQueue } = parts;
  const sources: [HasFd, Token][] = [];
  if (eventQueue) sources.push([eventQueue.event, 'event']);
  if (statusQueue) sources.push([statusQueue.event, 'status']);
  const work = new InputWork(parts);
  const worker = new EventWorker<Token>(tokens, sources, (token) => work.handle(token));
  work.begin(worker);
  // Status events may have been there before the first kick was waited for.
  statusQueue?.event.write();
  return worker;
}

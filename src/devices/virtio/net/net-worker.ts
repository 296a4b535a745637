import type { EventFd } from '#poll/event-fd.ts';
import type { Watch } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import type { HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import type { ActiveQueues } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { EventWorker, QueueServer, type Worker } from '../worker.ts';
import type { NetBackend } from './backend.ts';
import { NetQueue } from './constants.ts';
import { Reception } from './reception.ts';
import { Transmission } from './transmission.ts';

const tokens = namedTokens('receive', 'transmit', 'backend');
type Token = 'receive' | 'transmit' | 'backend';

export interface NetWorkerOptions {
  readonly backend: NetBackend;
  /** Those of the negotiation. */
  readonly features: bigint;
  readonly interrupt: Interrupt;
  readonly queues: ActiveQueues;
  readonly queueEvents: readonly EventFd[];
  /** The peer is gone; once. */
  readonly onEnd: () => void;
}

/** Both directions of one pair of queues over one descriptor, which is only waited for where that makes sense. */
class NetPair {
  readonly #backend: NetBackend;
  readonly #onEnd: () => void;
  readonly #reception: Reception | undefined;
  readonly #transmission: Transmission | undefined;
  #worker: EventWorker<Token> | undefined;
  #watch: Watch | undefined;
  #hasEnded = false;

  constructor({ backend, features, onEnd }: NetWorkerOptions, receive?: QueueServer, transmit?: QueueServer) {
    this.#backend = backend;
    this.#onEnd = onEnd;
    this.#reception = receive && new Reception(receive, backend, features);
    this.#transmission = transmit && new Transmission(transmit, backend, features);
  }

  begin(worker: EventWorker<Token>): void {
    this.#worker = worker;
    this.#update();
  }

  handle(token: Token): void {
    if (token === 'receive') this.#reception?.onKick();
    else if (token === 'transmit') this.#transmission?.onKick();
    else {
      // One descriptor stands for both: what has nothing to do finds that out by one call.
      if (this.#transmission?.isBlocked === true) this.#transmission.run();
      if (this.#reception?.wantsPackets === true) this.#reception.run();
    }
    this.#update();
  }

  #update(): void {
    const wanted = this.#wanted();
    if (this.#backend.end !== undefined && !this.#hasEnded) {
      this.#hasEnded = true;
      this.#onEnd();
    }
    if (wanted === this.#watch) return;
    if (wanted === undefined) this.#worker?.remove(this.#backend);
    else if (this.#watch === undefined) this.#worker?.add(this.#backend, 'backend', wanted);
    else this.#worker?.modify(this.#backend, 'backend', wanted);
    this.#watch = wanted;
  }

  /** A descriptor that is waited for reports a hangup whatever is asked: one for which nothing is to be done is taken out. */
  #wanted(): Watch | undefined {
    if (this.#backend.end !== undefined) return undefined;
    const receives = this.#reception?.wantsPackets === true;
    const isBlocked = this.#transmission?.isBlocked === true;
    if (receives) return isBlocked ? 'both' : 'readable';
    return isBlocked ? 'writable' : undefined;
  }
}

/** The work of a network device. Throws SyscallError when the host refuses it. */
export function createNetWorker(options: NetWorkerOptions): Worker {
  const { queues, queueEvents, interrupt } = options;
  const server = (index: number): QueueServer | undefined => {
    const queue = queues[index];
    const event = queueEvents[index];
    assert(event !== undefined, 'an event for every queue');
    return queue && new QueueServer({ queue, event, interrupt });
  };
  const receive = server(NetQueue.RECEIVE);
  const transmit = server(NetQueue.TRANSMIT);
  const sources: [HasFd, Token][] = [];
  if (receive) sources.push([receive.event, 'receive']);
  if (transmit) sources.push([transmit.event, 'transmit']);
  const pair = new NetPair(options, receive, transmit);
  const worker = new EventWorker<Token>(tokens, sources, (token) => pair.handle(token));
  pair.begin(worker);
  // Chains may have been there before the first kick was waited for.
  receive?.event.write();
  transmit?.event.write();
  return worker;
}

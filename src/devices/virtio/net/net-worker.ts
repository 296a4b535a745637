import type { EventFd } from '#poll/event-fd.ts';
import type { Watch } from '#poll/poll-context.ts';
import type { TokenType } from '#poll/token.ts';
import type { HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { ActiveQueues } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { EventWorker, QueueServer, type Worker } from '../worker.ts';
import type { NetBackend, NetEnd } from './backend.ts';
import { NetFeature, NetQueue, QUEUES_PER_PAIR } from './constants.ts';
import { GUEST_OFFLOADS, NetControl } from './control-queue.ts';
import { ReceiveFilter } from './receive-filter.ts';
import { Reception } from './reception.ts';
import { Transmission } from './transmission.ts';

/** What a pair waits for, as its tokens count on from `pair * TOKENS_PER_PAIR`. */
const PairToken = { RECEIVE: 0, TRANSMIT: 1, BACKEND: 2 } as const;
const TOKENS_PER_PAIR = 3;
const tokens: TokenType<number> = u64AsNumber;

export interface NetWorkerOptions {
  /** One for each pair of queues. */
  readonly backends: readonly NetBackend[];
  /** Those of the negotiation. */
  readonly features: bigint;
  readonly interrupt: Interrupt;
  readonly queues: ActiveQueues;
  readonly queueEvents: readonly EventFd[];
  /** A peer is gone, and why; once. */
  readonly onEnd: (end: NetEnd) => void;
  /** The device's address, which changes by `useMac` alone. */
  readonly mac: Uint8Array;
  /** The driver gives the device another address, which is valid during the call. */
  readonly useMac: (mac: Uint8Array) => void;
}

interface PairOptions {
  readonly backend: NetBackend;
  readonly features: bigint;
  readonly filter: ReceiveFilter;
  readonly receive: QueueServer | undefined;
  readonly transmit: QueueServer | undefined;
  /** The first of its tokens. */
  readonly firstToken: number;
  readonly onEnd: (end: NetEnd) => void;
}

/** Both directions of one pair of queues over one descriptor, which is only waited for where that makes sense. */
class NetPair {
  readonly #options: PairOptions;
  readonly #backend: NetBackend;
  readonly #reception: Reception | undefined;
  readonly #transmission: Transmission | undefined;
  #worker: EventWorker<number> | undefined;
  #isActive = false;
  #watch: Watch | undefined;
  #hasEnded = false;

  constructor(options: PairOptions) {
    const { backend, features, filter, receive, transmit } = options;
    this.#options = options;
    this.#backend = backend;
    this.#reception = receive && new Reception({ server: receive, backend, features, filter });
    this.#transmission = transmit && new Transmission(transmit, backend, features);
  }

  /** The worker waits for the kicks of both queues already. */
  begin(worker: EventWorker<number>): void {
    this.#worker = worker;
  }

  /** Uses the pair, or leaves its queues alone. */
  setActive(isActive: boolean): void {
    if (isActive === this.#isActive) return;
    this.#isActive = isActive;
    if (isActive) {
      // Chains may have been there before the first kick was waited for, or looked at.
      this.#options.receive?.event.write();
      this.#options.transmit?.event.write();
    }
    this.#update();
  }

  handle(token: number): void {
    if (!this.#isActive) this.#takeKick(token);
    else if (token === PairToken.RECEIVE) this.#reception?.onKick();
    else if (token === PairToken.TRANSMIT) this.#transmission?.onKick();
    else {
      // One descriptor stands for both: what has nothing to do finds that out by one call.
      if (this.#transmission?.isBlocked === true) this.#transmission.run();
      if (this.#reception?.wantsPackets === true) this.#reception.run();
    }
    this.#update();
  }

  #takeKick(token: number): void {
    const { receive, transmit } = this.#options;
    if (token === PairToken.RECEIVE) receive?.takeKick();
    else if (token === PairToken.TRANSMIT) transmit?.takeKick();
  }

  #update(): void {
    const wanted = this.#wanted();
    if (this.#backend.end !== undefined && !this.#hasEnded) {
      this.#hasEnded = true;
      this.#options.onEnd(this.#backend.end);
    }
    if (wanted === this.#watch) return;
    const token = this.#options.firstToken + PairToken.BACKEND;
    if (wanted === undefined) this.#worker?.remove(this.#backend);
    else if (this.#watch === undefined) this.#worker?.add(this.#backend, token, wanted);
    else this.#worker?.modify(this.#backend, token, wanted);
    this.#watch = wanted;
  }

  /** A descriptor that is waited for reports a hangup whatever is asked: one for which nothing is to be done is taken out. */
  #wanted(): Watch | undefined {
    if (this.#backend.end !== undefined || !this.#isActive) return undefined;
    const receives = this.#reception?.wantsPackets === true;
    const isBlocked = this.#transmission?.isBlocked === true;
    if (receives) return isBlocked ? 'both' : 'readable';
    return isBlocked ? 'writable' : undefined;
  }
}

/** All pairs, of which the driver says how many are used: one after the negotiation, §5.1.6.5.5. */
class NetPairs {
  readonly #backends: readonly NetBackend[];
  readonly #features: bigint;
  readonly #pairs: readonly NetPair[];

  constructor({ backends, features }: NetWorkerOptions, pairs: readonly NetPair[]) {
    this.#backends = backends;
    this.#features = features;
    this.#pairs = pairs;
  }

  use(count: number): void {
    for (const [index, backend] of this.#backends.entries()) {
      backend.setActive(index < count);
      this.#pairs[index]?.setActive(index < count);
    }
  }

  useOffloads(bits: bigint): void {
    for (const backend of this.#backends) backend.useFeatures((this.#features & ~GUEST_OFFLOADS) | bits);
  }
}

/** The work of a network device. Throws SyscallError when the host refuses it. */
export function createNetWorker(options: NetWorkerOptions): Worker {
  const { backends, features, queues, queueEvents, interrupt } = options;
  const server = (index: number): QueueServer | undefined => {
    const queue = queues[index];
    const event = queueEvents[index];
    assert(event !== undefined, 'an event for every queue');
    return queue && new QueueServer({ queue, event, interrupt });
  };
  let hasEnded = false;
  const onEnd = (end: NetEnd): void => {
    if (hasEnded) return;
    hasEnded = true;
    options.onEnd(end);
  };
  const filter = new ReceiveFilter(features, options.mac);
  const sources: [HasFd, number][] = [];
  // §5.1.2: a driver that does not know of several pairs has the control queue behind the first.
  const pairCount = (features & NetFeature.MQ) === 0n ? 1 : backends.length;
  const pairs = backends.slice(0, pairCount).map((backend, pair) => {
    const receive = server(pair * QUEUES_PER_PAIR + NetQueue.RECEIVE);
    const transmit = server(pair * QUEUES_PER_PAIR + NetQueue.TRANSMIT);
    const firstToken = pair * TOKENS_PER_PAIR;
    if (receive) sources.push([receive.event, firstToken + PairToken.RECEIVE]);
    if (transmit) sources.push([transmit.event, firstToken + PairToken.TRANSMIT]);
    return new NetPair({ backend, features, filter, receive, transmit, firstToken, onEnd });
  });
  const all = new NetPairs(options, pairs);
  const control = server(pairCount * QUEUES_PER_PAIR);
  const controlToken = pairCount * TOKENS_PER_PAIR;
  if (control) sources.push([control.event, controlToken]);
  const commands = new NetControl({
    features,
    pairsMax: pairCount,
    filter,
    usePairs: (count) => all.use(count),
    useOffloads: (bits) => all.useOffloads(bits),
    useMac: options.useMac,
  });
  const worker = new EventWorker(tokens, sources, (token) => {
    if (token === controlToken) control?.serve(commands);
    else pairs[Math.trunc(token / TOKENS_PER_PAIR)]?.handle(token % TOKENS_PER_PAIR);
  });
  for (const pair of pairs) pair.begin(worker);
  control?.event.write();
  all.use(1);
  return worker;
}

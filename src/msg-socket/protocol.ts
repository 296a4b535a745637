/**
 * Requests with responses over one socket. A protocol is what the holder of its socket may ask for: a privilege.
 *
 *   const VmMemory = protocol({ register: request(RegisterMemory, MemoryRegion), unregister: request(MemoryRegion, unit) });
 *   const ends = VmMemory.pair();
 *   const server = VmMemory.server(ends.server, { register: ({ fd, sizeBytes }) => …, unregister: (region) => … });
 *   const client = VmMemory.client(ends.client);
 *   const region = client.register({ fd, sizeBytes });
 *
 * A request carries a sequence number that its response repeats, so that a response that comes after its request has timed
 * out is not taken for the next one's.
 */
import { Fd, type HasFd } from '#sys/fd.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { assert } from '#util/assert.ts';
import { CodedError } from '#util/errors.ts';
import { struct } from './composites.ts';
import { MsgError } from './errors.ts';
import {
  define,
  type MessageReader,
  type MessageType,
  type MessageWriter,
  signatureOf,
  type ValueOf,
} from './message-type.ts';
import { type MessageTimeouts, MsgSocket, type SocketFd } from './msg-socket.ts';
import { fitText, textUpTo, u8, u32, unit } from './scalars.ts';

/** A request and its response. */
export interface RequestType<Q, A> {
  readonly request: MessageType<Q>;
  readonly response: MessageType<A>;
  /** Nobody answers, and the caller does not wait. */
  readonly isPosted: boolean;
}

/** Declares a request whose response the caller waits for. */
export function request<Q, A>(asked: MessageType<Q>, answered: MessageType<A>): RequestType<Q, A> {
  return { request: asked, response: answered, isPosted: false };
}

/** Declares a request without a response: the caller goes on at once and does not learn of a failure. */
export function posted<Q>(asked: MessageType<Q>): RequestType<Q, void> {
  return { request: asked, response: unit, isPosted: true };
}

type Requests = Readonly<Record<string, RequestType<unknown, unknown>>>;
type Calls<R extends Requests> = {
  readonly [K in keyof R]: R[K] extends RequestType<infer Q, infer A> ? (request: Q) => A : never;
};
/** A protocol, as the types of its two ends see it: `Client<typeof VmMemory>`. */
interface HasRequests {
  readonly requests: Requests;
}

/** One method for each request. Those with a response throw RemoteError when the server refuses, MsgError as MsgSocket. */
export type Client<P extends HasRequests> = ProtocolClient & Calls<P['requests']>;
/**
 * One function for each request. A CodedError that it throws becomes the client's RemoteError. Descriptors of the request are
 * the function's to close, those that it returns go to the client. When it throws, the request's are closed for it.
 */
export type Handlers<P extends HasRequests> = Calls<P['requests']>;

/** What the server refused: its error's code and message. The code is of the server's errors, the message one line, cut if long. */
export class RemoteError extends CodedError {
  override readonly name = 'RemoteError';
}

export interface ClientOptions extends MessageTimeouts {
  /**
   * The number of the last request: one u32, which several clients of one socket (each on its thread, one call at a time) share.
   * By default the client's own.
   */
  readonly sequence?: Uint32Array;
}

/** The largest texts of a failure, in bytes of UTF-8. */
const FAILURE_CODE_BYTES = 64;
const FAILURE_MESSAGE_BYTES = 512;
const Failure = struct({ code: textUpTo(FAILURE_CODE_BYTES), message: textUpTo(FAILURE_MESSAGE_BYTES) });
/** Names that a client has for itself. */
const RESERVED_NAMES: readonly string[] = ['fd', 'close', 'constructor'];
/** The late responses that one call passes over: more is a server that does not do as it should. */
const STALE_RESPONSES_MAX = 16;

/** A message of a protocol: `tag` says which of its types the value has. Each socket has one, which is used again and again. */
interface Envelope {
  sequence: number;
  tag: number;
  value: unknown;
}

const newEnvelope = (): Envelope => ({ sequence: 0, tag: 0, value: undefined });

/** Wire: sequence u32, tag u8, the value of the tag's type. */
function envelopeType(name: string, types: readonly MessageType<unknown>[]): MessageType<Envelope> {
  const readInto = (input: MessageReader, target: Envelope) => {
    target.sequence = u32.read(input);
    target.tag = u8.read(input);
    const type = types[target.tag];
    if (!type) throw new MsgError('WRONG_KIND', `a ${name} ${target.tag} where there are ${types.length}`);
    target.value = type.read(input);
  };
  return define<Envelope>({
    maxBytes: u32.maxBytes + u8.maxBytes + Math.max(...types.map(({ maxBytes }) => maxBytes)),
    maxFds: Math.max(...types.map(({ maxFds }) => maxFds)),
    signature: signatureOf(`${name} ${types.map(({ signature }) => signature)}`),
    write(out: MessageWriter, envelope: Envelope) {
      u32.write(out, envelope.sequence);
      u8.write(out, envelope.tag);
      (types[envelope.tag] as MessageType<unknown>).write(out, envelope.value);
    },
    read(input) {
      const envelope = newEnvelope();
      readInto(input, envelope);
      return envelope;
    },
    readInto,
  });
}

/** A protocol's two directions. A response's tag is its request's; the tag after the last one is a failure. */
interface Wire {
  readonly names: readonly string[];
  readonly posted: readonly boolean[];
  readonly request: MessageType<Envelope>;
  readonly response: MessageType<Envelope>;
}

/** One end of a protocol's socket; see Client for what it can ask. */
export class ProtocolClient implements HasFd, Disposable {
  readonly #wire: Wire;
  readonly #socket: MsgSocket<Envelope, Envelope>;
  readonly #request = newEnvelope();
  readonly #response = newEnvelope();
  readonly #sequence: Uint32Array;

  constructor(fd: SocketFd, wire: Wire, options: ClientOptions) {
    this.#wire = wire;
    this.#socket = new MsgSocket(fd, { send: wire.request, recv: wire.response });
    this.#socket.setTimeouts(options);
    this.#sequence = options.sequence ?? new Uint32Array(1);
    wire.names.forEach((name, tag) => {
      const value = wire.posted[tag]
        ? (asked: unknown) => this.#send(tag, asked)
        : (asked: unknown) => this.#call(tag, asked);
      Object.defineProperty(this, name, { value, enumerable: true });
    });
  }

  get fd(): number {
    return this.#socket.fd;
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #send(tag: number, asked: unknown): void {
    const envelope = this.#request;
    const sequence = ((this.#sequence[0] as number) + 1) >>> 0;
    this.#sequence[0] = sequence;
    envelope.sequence = sequence;
    envelope.tag = tag;
    envelope.value = asked;
    try {
      this.#socket.send(envelope);
    } finally {
      envelope.value = undefined;
    }
  }

  #call(tag: number, asked: unknown): unknown {
    this.#send(tag, asked);
    const response = this.#response;
    const { sequence } = this.#request;
    for (let stale = 0; stale <= STALE_RESPONSES_MAX; stale++) {
      if (!this.#socket.recvInto(response)) throw new MsgError('DISCONNECTED', 'the server has closed');
      const { value } = response;
      response.value = undefined;
      if (response.sequence === sequence) return this.#answer(tag, value);
      this.#socket.closeReceived();
    }
    throw new MsgError('WRONG_KIND', 'responses to other requests only');
  }

  #answer(tag: number, value: unknown): unknown {
    if (this.#response.tag === tag) return value;
    this.#socket.closeReceived();
    if (this.#response.tag !== this.#wire.names.length) {
      throw new MsgError('WRONG_KIND', 'a response to another kind of request');
    }
    throw remoteError(value as ValueOf<typeof Failure>);
  }
}

/** The other end: calls a handler for each request and sends its response. */
export class ProtocolServer implements HasFd, Disposable {
  readonly #wire: Wire;
  readonly #socket: MsgSocket<Envelope, Envelope>;
  readonly #handlers: readonly ((request: unknown) => unknown)[];
  readonly #request = newEnvelope();
  readonly #response = newEnvelope();

  constructor(fd: SocketFd, wire: Wire, handlers: Readonly<Record<string, (request: unknown) => unknown>>) {
    this.#wire = wire;
    this.#socket = new MsgSocket(fd, { send: wire.response, recv: wire.request });
    this.#handlers = wire.names.map((name) => {
      const handler = handlers[name];
      assert(handler !== undefined, 'a handler for each request');
      return handler.bind(handlers);
    });
  }

  get fd(): number {
    return this.#socket.fd;
  }

  /**
   * Waits for a request and serves it; false when the client has closed. Throws MsgError for what is no request, NO_ROOM when
   * the client does not read its responses, and whatever a handler throws that is no CodedError, or that is posted.
   */
  serveOne(): boolean {
    return this.#socket.recvInto(this.#request) && this.#serve();
  }

  /** As `serveOne` for a poll loop: undefined when there is no request. It never waits. */
  tryServeOne(): boolean | undefined {
    const received = this.#socket.tryRecvInto(this.#request);
    return received ? this.#serve() : received;
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #serve(): boolean {
    const { sequence, tag, value } = this.#request;
    // The handler may keep the value; the envelope must not, nor be looked at after a handler that serves again.
    this.#request.value = undefined;
    const isPosted = this.#wire.posted[tag] === true;
    let answerTag = tag;
    let answer: unknown;
    try {
      answer = (this.#handlers[tag] as (request: unknown) => unknown)(value);
    } catch (error) {
      this.#socket.closeReceived();
      if (isPosted || !(error instanceof CodedError)) throw error;
      answerTag = this.#wire.names.length;
      answer = failureOf(error);
    }
    if (!isPosted) this.#respond(sequence, answerTag, answer);
    return true;
  }

  /** A client that asks and never reads must not stop the server. */
  #respond(sequence: number, tag: number, value: unknown): void {
    const envelope = this.#response;
    envelope.sequence = sequence;
    envelope.tag = tag;
    envelope.value = value;
    const isSent = this.#socket.trySend(envelope);
    envelope.value = undefined;
    if (isSent) return;
    this.#socket.closeUnsent();
    throw new MsgError('NO_ROOM', 'the client does not read its responses');
  }
}

/** The server may be a device that a guest has taken over: its text must not break a line or command a terminal. */
function remoteError({ code, message }: ValueOf<typeof Failure>): Error {
  if (!/^[A-Z][A-Z0-9_]*$/.test(code)) return new MsgError('BAD_VALUE', 'a failure whose code is none');
  const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return new RemoteError(code, message.replace(/[\p{Cc}\u2028\u2029]/gu, escaped));
}

function failureOf(error: CodedError): ValueOf<typeof Failure> {
  return {
    code: fitText(error.code, FAILURE_CODE_BYTES),
    message: fitText(error.message, FAILURE_MESSAGE_BYTES),
  };
}

/** A set of requests that go over one socket. */
export interface Protocol<R extends Requests> {
  readonly requests: R;
  /** Two connected sockets, for `client` and `server`; the caller closes them. Throws SyscallError. */
  pair(): { readonly client: Fd; readonly server: Fd };
  /** Takes over the descriptor unless it is borrowed. Throws SyscallError. */
  client(fd: SocketFd, options?: ClientOptions): Client<Protocol<R>>;
  /** Takes over the descriptor unless it is borrowed. */
  server(fd: SocketFd, handlers: Handlers<Protocol<R>>): ProtocolServer;
}

/** Declares a protocol of up to 255 requests; their names are the methods of its clients. */
export function protocol<const R extends Requests>(requests: R): Protocol<R> {
  const names = Object.keys(requests);
  const types = Object.values(requests);
  assert(names.length > 0 && names.length <= 255, '1 to 255 requests');
  assert(!names.some((name) => RESERVED_NAMES.includes(name)), 'a request is not named as what a client has itself');
  const signature = names.join();
  const wire: Wire = {
    names,
    posted: types.map(({ isPosted }) => isPosted),
    request: envelopeType(
      `request ${signature}`,
      types.map((type) => type.request),
    ),
    response: envelopeType(`response ${signature}`, [...types.map(({ response }) => response), Failure]),
  };
  return {
    requests,
    pair() {
      const [client, server] = socketpair(SocketType.SEQPACKET);
      return { client: new Fd(client), server: new Fd(server) };
    },
    client: (fd, options = {}) => new ProtocolClient(fd, wire, options) as Client<Protocol<R>>,
    server: (fd, handlers) => new ProtocolServer(fd, wire, handlers as Record<string, (request: unknown) => unknown>),
  };
}

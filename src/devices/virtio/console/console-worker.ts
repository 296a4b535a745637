import type { EventFd } from '#poll/event-fd.ts';
import type { Watch } from '#poll/poll-context.ts';
import type { HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { ActiveQueues } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import { EventWorker, QueueServer, type Worker } from '../worker.ts';
import type { ConsolePort, ConsoleSize } from './console-port.ts';
import { ControlQueue, receiveQueueOf } from './constants.ts';
import { ControlChannel } from './control-channel.ts';
import { PortInput } from './port-input.ts';
import { PortOutput } from './port-output.ts';

/** A token is one of these with the number of a port, or one of the control queues. */
const TOKEN = { RECEIVE: 0, TRANSMIT: 1, INPUT: 2, OUTPUT: 3 } as const;
const TOKENS_PER_PORT = 4;
const CONTROL_TOKEN = { RECEIVE: 2 ** 16, TRANSMIT: 2 ** 16 + 1 } as const;

export interface ConsoleWorkerOptions {
  /** Those that the driver sees. */
  readonly ports: readonly ConsolePort[];
  /** Whether MULTIPORT was negotiated. */
  readonly isMultiport: boolean;
  readonly size: () => ConsoleSize;
  readonly log: Log;
  readonly interrupt: Interrupt;
  readonly queues: ActiveQueues;
  readonly queueEvents: readonly EventFd[];
}

interface ActivePort {
  readonly host: ConsolePort;
  readonly input: PortInput | undefined;
  readonly output: PortOutput | undefined;
  /** The driver knows that the host's side is closed, or learns it when the port is ready. */
  isClosed: boolean;
}

/** The work of a console. */
export class ConsoleWork {
  readonly worker: Worker;
  readonly control: ControlChannel | undefined;
  readonly #ports: readonly ActivePort[];
  readonly #events: EventWorker<number>;

  /** Throws SyscallError when the host refuses it. */
  constructor(options: ConsoleWorkerOptions) {
    const sources: [HasFd, number][] = [];
    const server = (index: number, token: number): QueueServer | undefined => {
      const queue = options.queues[index];
      const event = options.queueEvents[index];
      assert(event !== undefined, 'an event for every queue');
      if (queue === undefined) return undefined;
      sources.push([event, token]);
      return new QueueServer({ queue, event, interrupt: options.interrupt });
    };
    this.#ports = options.ports.map((port, id) => this.#activePort(port, id, server));
    if (options.isMultiport) {
      const { ports, log, size } = options;
      const receive = server(ControlQueue.RECEIVE, CONTROL_TOKEN.RECEIVE);
      const transmit = server(ControlQueue.TRANSMIT, CONTROL_TOKEN.TRANSMIT);
      const onOpen = (id: number, isOpen: boolean): void => this.#setOpen(id, isOpen);
      this.control = new ControlChannel({ ports, receive, transmit, log, size, onOpen });
    }
    this.#events = new EventWorker<number>(u64AsNumber, sources, (token) => this.#handle(token));
    this.worker = this.#events;
    // Without control messages there is nobody to say that a port is open.
    if (!options.isMultiport) for (const id of this.#ports.keys()) this.#setOpen(id, true);
    // Chains may have been there before the first kick was waited for.
    for (const [event] of sources) (event as EventFd).write();
  }

  #activePort(
    port: ConsolePort,
    id: number,
    server: (index: number, token: number) => QueueServer | undefined,
  ): ActivePort {
    const token = id * TOKENS_PER_PORT;
    const { input, output } = port;
    // Without input nobody takes the kicks of buffers for it: they are not waited for.
    const receive = input && server(receiveQueueOf(id), token + TOKEN.RECEIVE);
    const transmit = server(receiveQueueOf(id) + 1, token + TOKEN.TRANSMIT);
    const watch = (source: HasFd | undefined, place: number, direction: Watch) => (wanted: boolean) => {
      assert(source !== undefined, 'something to wait for');
      if (wanted) this.#events.add(source, token + place, direction);
      else this.#events.remove(source);
    };
    const onEnd = (): void => output.checkPeer();
    return {
      host: port,
      isClosed: output.isClosed,
      input:
        receive &&
        input &&
        new PortInput({ server: receive, input, onEnd, onWatch: watch(input, TOKEN.INPUT, 'readable') }),
      output:
        transmit &&
        new PortOutput({ server: transmit, output, onWatch: watch(output.source, TOKEN.OUTPUT, 'writable') }),
    };
  }
  #handle(token: number): void {
    if (token === CONTROL_TOKEN.RECEIVE) this.control?.onReceive();
    else if (token === CONTROL_TOKEN.TRANSMIT) this.control?.onTransmit();
    else {
      const id = Math.floor(token / TOKENS_PER_PORT);
      const port = this.#ports[id];
      if (port !== undefined) this.#handlePort(port, id, token % TOKENS_PER_PORT);
    }
  }

  #handlePort(port: ActivePort, id: number, place: number): void {
    if (place === TOKEN.RECEIVE) port.input?.onKick();
    else if (place === TOKEN.TRANSMIT) port.output?.onKick();
    else if (place === TOKEN.INPUT) port.input?.onInput();
    else port.output?.onRoom();
    if (!port.isClosed && port.host.output.isClosed) {
      port.isClosed = true;
      this.control?.noteClosed(id);
    }
  }

  #setOpen(id: number, isOpen: boolean): void {
    const input = this.#ports[id]?.input;
    if (input !== undefined) input.isOpen = isOpen;
  }
}

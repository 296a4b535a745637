/** The control queues of a device with several ports, VIRTIO 1.1 §5.3.6.2. */
import type { Log } from '#util/log.ts';
import { viewOf } from '#util/struct.ts';
import type { ChainReader } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { QueueServer, RequestHandler } from '../worker.ts';
import type { ConsolePort, ConsoleSize } from './console-port.ts';
import { ControlEvent, ControlMessage, ControlSize } from './constants.ts';

const { DEVICE_READY, PORT_ADD, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME } = ControlEvent;
/** In which order a port's messages go: it is a console before it has a size. */
const ORDER = [PORT_ADD, CONSOLE_PORT, PORT_NAME, RESIZE, PORT_OPEN] as const;

export interface ControlChannelOptions {
  readonly ports: readonly ConsolePort[];
  /** Absent where the driver has not enabled the queue. */
  readonly receive: QueueServer | undefined;
  readonly transmit: QueueServer | undefined;
  readonly log: Log;
  /** Now. */
  readonly size: () => ConsoleSize;
  /** Somebody in the guest has opened the port or closed it. */
  readonly onOpen: (port: number, isOpen: boolean) => void;
}

/**
 * What the device and the driver say of their ports. What is to be said is a bit for each port and kind of message, not a list:
 * a driver that asks without end, or gives no buffers, costs no memory.
 */
export class ControlChannel implements RequestHandler {
  readonly #options: ControlChannelOptions;
  /** By port: a bit for each event that is to be sent. */
  readonly #pending: Uint8Array;
  readonly #isReady: boolean[];
  /** §5.3.6.2.1: no port is added twice. */
  #isAdded = false;
  readonly #message = new Uint8Array(ControlMessage.size);
  readonly #view = viewOf(this.#message);

  constructor(options: ControlChannelOptions) {
    this.#options = options;
    this.#pending = new Uint8Array(options.ports.length);
    this.#isReady = options.ports.map(() => false);
  }

  /** The driver has sent messages. */
  onTransmit(): void {
    this.#options.transmit?.serve(this);
    this.#flush();
  }

  /** There are buffers for messages, or messages for the buffers. */
  onReceive(): void {
    this.#options.receive?.takeKick();
    this.#flush();
  }

  /** The terminal has another size: the driver is told in the worker's next turn. */
  noteSize(): void {
    this.#options.ports.forEach((port, id) => {
      if (port.isTerminal && this.#isReady[id] === true) this.#note(id, RESIZE);
    });
    this.#options.receive?.event.write();
  }

  /** The host's side of a port was closed. */
  noteClosed(id: number): void {
    if (this.#isReady[id] !== true) return;
    this.#note(id, PORT_OPEN);
    this.#flush();
  }

  handle(_chain: DescriptorChain, reader: ChainReader): number {
    if (reader.read(this.#message) < ControlMessage.size) this.#options.log.warn('a control message is too short');
    else this.#hear(ControlMessage.decode(this.#view));
    return 0;
  }

  #hear({ id, event, value }: { readonly id: number; readonly event: number; readonly value: number }): void {
    const { ports, log, onOpen } = this.#options;
    if (event === DEVICE_READY) {
      if (value !== 1) log.warn('the driver could not make the device ready');
      else if (!this.#isAdded) {
        this.#isAdded = true;
        for (const port of ports.keys()) this.#note(port, PORT_ADD);
      }
    } else if (!this.#isAdded || id >= ports.length)
      log.warn(`a control message ${event} for port ${id}, which is not there`);
    else if (event === PORT_READY) this.#hearReady(id, value === 1);
    else if (event === PORT_OPEN) onOpen(id, value !== 0);
    else log.warn(`a control message ${event} from the driver, which is not for it to send`);
  }

  #hearReady(id: number, isReady: boolean): void {
    const { ports, log } = this.#options;
    const port = ports[id]!;
    this.#isReady[id] = isReady;
    if (!isReady) {
      log.warn(`the driver could not make port ${id} ready`);
      return;
    }
    if (port.isConsole) this.#note(id, CONSOLE_PORT);
    if (port.name !== undefined) this.#note(id, PORT_NAME);
    if (port.isTerminal) this.#note(id, RESIZE);
    this.#note(id, PORT_OPEN);
  }

  #note(id: number, event: number): void {
    this.#pending[id]! |= 1 << event;
  }

  /** Sends what there are buffers for. */
  #flush(): void {
    const { receive, ports } = this.#options;
    if (receive === undefined) return;
    for (let id = 0; id < ports.length; id++) {
      for (const event of ORDER) {
        if ((this.#pending[id]! & (1 << event)) !== 0 && !this.#send(receive, id, event)) {
          receive.signal();
          return;
        }
      }
    }
    receive.signal();
  }

  /** False when there is no buffer, or one that is too small, which stops the queue. */
  #send(receive: QueueServer, id: number, event: (typeof ORDER)[number]): boolean {
    if (!receive.next()) return false;
    const more = this.#contentOf(id, event);
    if (receive.writer.remaining < ControlMessage.size + more.length) {
      receive.fail('NO_ROOM_FOR_ANSWER');
      return false;
    }
    const isClosed = event === PORT_OPEN && this.#options.ports[id]!.output.isClosed;
    receive.writer.write(ControlMessage.encode({ id, event, value: isClosed ? 0 : 1 }));
    receive.writer.write(more);
    receive.queue.addUsed(receive.chain.head, ControlMessage.size + more.length);
    this.#pending[id]! &= ~(1 << event);
    return true;
  }

  /** What follows the message. */
  #contentOf(id: number, event: number): Uint8Array {
    if (event === PORT_NAME) return Buffer.from(this.#options.ports[id]!.name ?? '', 'latin1');
    if (event !== RESIZE) return NOTHING;
    const { columns, rows } = this.#options.size();
    return ControlSize.encode({ cols: columns, rows });
  }
}

const NOTHING = new Uint8Array(0);

/** A serial port in a process of its own: made outside of the jail, then a loop inside it. */

import { IrqfdLine } from '#devices/irqfd-line.ts';
import type { ByteSink } from '#devices/legacy/byte-sink.ts';
import { Serial } from '#devices/legacy/serial.ts';
import { serveBusDevice } from '#devices/proxy/proxied-bus-device.ts';
import type { ConsoleInput, ConsoleOutput } from '#devices/virtio/console/console-port.ts';
import { FdInput, FdOutput, nullOutput } from '#devices/virtio/console/host-ends.ts';
import type { DeviceMaker } from '#jail/warden-process.ts';
import { decodeBytes } from '#msg-socket/bytes.ts';
import { optional, struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import { bool, oneOf } from '#msg-socket/scalars.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { hostClock } from '#util/clock.ts';
import { LOG_LEVELS, Logger } from '#util/log.ts';
import { ConsoleReport } from '#vm-control/console-control.ts';
import { deviceLogSink } from '#vm-control/device-log.ts';
import { PanicWatch } from '../panic-watch.ts';
import { OUTPUT_KINDS } from '../serial-output.ts';
import { OutputBuffer } from './output-buffer.ts';

/**
 * What main says of a serial port. Its descriptors are the sockets of DeviceLog and of ConsoleReport and the eventfd of its interrupt;
 * the output and the input follow as far as there are any.
 */
export const SerialParameters = struct({
  /** Absent for one that swallows everything. */
  output: optional(struct({ kind: oneOf(OUTPUT_KINDS) })),
  hasInput: bool,
  /** Main wants to know of a panic that is told there. */
  isWatched: bool,
  logLevel: oneOf(LOG_LEVELS),
});
export type SerialParameters = ValueOf<typeof SerialParameters>;

/** The descriptors before the output. */
export const SERIAL_FDS_BEFORE_ENDS = 3;

/** Main has this long to take a report, for which there is always room. */
const REPORT_TIMEOUT_MS = 500;
/** What a UART receives at once: its FIFO. */
const INPUT_BYTES = 16;

export const makeSerial: DeviceMaker = ({ name, socket, fds, parameters }) => {
  const { output, hasInput, isWatched, logLevel } = decodeBytes(SerialParameters, parameters);
  const [logSocket, report, irqfd, ...ends] = fds.map((fd) => new Fd(fd));
  assert(logSocket !== undefined && report !== undefined && irqfd !== undefined, 'the ways to main');
  assert(ends.length === Number(output !== undefined) + Number(hasInput), 'a descriptor for each end');
  const log = new Logger(name, { level: logLevel, sink: deviceLogSink(logSocket), clock: hostClock });
  const reporter = ConsoleReport.client(report, { sendMs: REPORT_TIMEOUT_MS, receiveMs: REPORT_TIMEOUT_MS });
  let hasPanicked = false;
  const onPanic = (): void => {
    // Once: a guest that says it without end must not fill the socket.
    if (!hasPanicked) reporter.panicked();
    hasPanicked = true;
  };
  const input = hasInput ? new FdInput(ends.at(-1) as Fd, log) : undefined;
  const sink = output === undefined ? nullOutput : new FdOutput(ends[0] as Fd, output.kind, log);
  const wrap = (buffer: ByteSink): ByteSink => (isWatched ? new PanicWatch(buffer, onPanic) : buffer);
  const loop = new SerialLoop({
    name,
    socket: new Fd(socket),
    irqfd: EventFd.fromFd(irqfd),
    output: sink,
    input,
    wrap,
  });
  return () => loop.run();
};

export interface SerialLoopParts {
  readonly name: string;
  /** The bus. */
  readonly socket: Fd;
  readonly irqfd: { write(): void };
  readonly output: ConsoleOutput;
  readonly input: ConsoleInput | undefined;
  /** Puts something between the port and its output. */
  readonly wrap: (buffer: ByteSink) => ByteSink;
}

/** A driver looks at the port before each byte: written one by one they would cost a call each. So long they may wait for others. */
const OUTPUT_DELAY_MS = 2;
/** For a guest that never leaves the port alone. */
const REQUESTS_PER_WRITE = 256;
/** The reader of the output has this long at the machine's end. */
const END_TIMEOUT_MS = 1000;

type Token = 'bus' | 'input' | 'output';

/** Answers the bus, passes input on as the port can take it, and output as its reader can. */
export class SerialLoop {
  readonly #poll = new PollContext<Token>(namedTokens('bus', 'input', 'output'));
  readonly #server: ProtocolServer;
  readonly #serial: Serial;
  readonly #buffer: OutputBuffer;
  readonly #output: ConsoleOutput;
  readonly #input: ConsoleInput | undefined;
  readonly #chunk = new Uint8Array(INPUT_BYTES);
  #isInputWatched = false;
  #hasInputEnded = false;
  #isOutputWatched = false;
  #requestsSinceWrite = 0;
  #isEnding = false;

  constructor({ name, socket, irqfd, output, input, wrap }: SerialLoopParts) {
    this.#output = output;
    this.#input = input;
    this.#buffer = new OutputBuffer(output);
    this.#serial = new Serial(new Int32Array(Serial.STATE_WORDS), {
      name,
      interrupt: new IrqfdLine(irqfd),
      output: wrap(this.#buffer),
    });
    this.#server = serveBusDevice(socket, this.#serial, {
      // It uses no guest memory.
      onSuspend: () => {},
      onResume: () => {},
      onShutdown: () => this.#finish(),
    });
    this.#poll.add(this.#server, 'bus');
  }

  /** The exit status. */
  run(): number {
    while (!this.#isEnding) this.turn();
    return 0;
  }

  /** Does what waits. Waits for it at most `timeoutMs`, without end when absent. */
  turn(timeoutMs?: number): void {
    const isHeldBack = this.#buffer.isWaiting && !this.#isOutputWatched;
    const events = this.#poll.wait(isHeldBack ? OUTPUT_DELAY_MS : timeoutMs);
    for (const { token } of events) {
      if (token === 'bus') this.#serve();
      else if (token === 'input') this.#receive();
      else this.#write();
    }
    if (isHeldBack && (events.length === 0 || this.#requestsSinceWrite >= REQUESTS_PER_WRITE)) this.#write();
    this.#watchInput();
  }

  #serve(): void {
    const served = this.#server.tryServeOne();
    if (served === false) this.#finish();
    this.#requestsSinceWrite++;
    if (this.#buffer.isFull && !this.#isOutputWatched) this.#write();
  }

  #write(): void {
    this.#requestsSinceWrite = 0;
    const wasFull = this.#buffer.isFull;
    this.#buffer.writeOut();
    if (wasFull && !this.#buffer.isFull) this.#serial.resumeOutput();
    const { source } = this.#output;
    if (source === undefined || this.#buffer.isWaiting === this.#isOutputWatched) return;
    this.#isOutputWatched = this.#buffer.isWaiting;
    if (this.#isOutputWatched) this.#poll.add(source, 'output', 'writable');
    else this.#poll.remove(source);
  }

  #receive(): void {
    if (this.#input === undefined) return;
    const space = this.#serial.inputSpace();
    // The bus may have been served since the wait.
    if (space === 0) return;
    const count = this.#input.read(this.#chunk.subarray(0, space));
    if (count === 0) this.#hasInputEnded = true;
    else if (count !== undefined) this.#serial.enqueueInput(this.#chunk.subarray(0, count));
  }

  #watchInput(): void {
    if (this.#input === undefined) return;
    const wanted = !this.#hasInputEnded && this.#serial.inputSpace() > 0;
    if (wanted === this.#isInputWatched) return;
    this.#isInputWatched = wanted;
    if (wanted) this.#poll.add(this.#input, 'input');
    else this.#poll.remove(this.#input);
  }

  /** The machine ends: the output's reader gets what there is, if it takes it. */
  #finish(): void {
    this.#isEnding = true;
    this.#buffer.writeOut();
    const { source } = this.#output;
    while (source !== undefined && this.#buffer.isWaiting && pollFd(source.fd, PollFlag.OUT, END_TIMEOUT_MS) !== 0)
      this.#buffer.writeOut();
  }
}

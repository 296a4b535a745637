/** What a device's process reports, for main to show: main decides how much of it. */
import { struct } from '#msg-socket/composites.ts';
import { MsgError } from '#msg-socket/errors.ts';
import { MsgSocket, type SocketFd } from '#msg-socket/msg-socket.ts';
import { fitText, nothing, textUpTo, u8 } from '#msg-socket/scalars.ts';
import type { HasFd } from '#sys/fd.ts';
import { LOG_LEVELS, type Log, type LogSink } from '#util/log.ts';

const MESSAGE_BYTES_MAX = 500;

const Report = struct({ level: u8, message: textUpTo(MESSAGE_BYTES_MAX) });

/** The sink of a device's process. It never waits: when main does not keep up, messages are lost. Takes the descriptor over. */
export function deviceLogSink(socket: SocketFd): LogSink {
  const sender = new MsgSocket(socket, { send: Report, recv: nothing });
  return (level, _source, message) => {
    try {
      sender.trySend({ level: LOG_LEVELS.indexOf(level), message: fitText(message, MESSAGE_BYTES_MAX) });
    } catch (error) {
      // Main is gone, which the bus's socket tells as well: there is nobody to report to.
      if (!(error instanceof MsgError)) throw error;
    }
  };
}

/** Main's end of one device: passes on what was reported to a log that bears the device's name. */
export class DeviceLogServer implements HasFd, Disposable {
  readonly #receiver: MsgSocket<never, { level: number; message: string }>;
  readonly #log: Log;

  /** Takes the descriptor over. */
  constructor(socket: SocketFd, log: Log) {
    this.#receiver = new MsgSocket(socket, { send: nothing, recv: Report });
    this.#log = log;
  }

  get fd(): number {
    return this.#receiver.fd;
  }

  /** Undefined when nothing waits, false when the device has closed. Throws MsgError for what is no report. */
  tryServeOne(): boolean | undefined {
    const report = this.#receiver.tryRecv();
    if (report === undefined) return undefined;
    if (report === null) return false;
    const level = LOG_LEVELS[report.level];
    if (level === undefined || level === 'off')
      throw new MsgError('BAD_VALUE', `no level of messages: ${report.level}`);
    this.#log[level](report.message);
    return true;
  }

  [Symbol.dispose](): void {
    this.#receiver[Symbol.dispose]();
  }
}

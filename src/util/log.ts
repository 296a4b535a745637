import type { Clock } from './clock.ts';

/** By rising number of messages. */
export const LOG_LEVELS = ['off', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type MessageLevel = Exclude<LogLevel, 'off'>;

/** Takes one message, which may have control characters in it. Must not throw. */
export type LogSink = (level: MessageLevel, source: string, message: string) => void;

/** What code that reports gets: it knows neither the sink nor the level. */
export interface Log {
  error(message: string): void;
  warn(message: string): void;
  info(message: string): void;
  debug(message: string): void;
  trace(message: string): void;
}

export interface LoggerOptions {
  /** Messages of a level after this one in LOG_LEVELS are dropped. */
  readonly level: LogLevel;
  readonly sink: LogSink;
  readonly clock: Pick<Clock, 'nowNs'>;
}

/** A guest can make a device complain as often as it likes: a source says at most this much in a window, then how much it left out. */
const BURST = 20;
const WINDOW_NS = 10e9;

/** A source of messages with a budget of its own. */
export class Logger implements Log {
  readonly #options: LoggerOptions;
  readonly #source: string;
  readonly #rank: number;
  #windowStartNs = Number.NEGATIVE_INFINITY;
  #written = 0;
  #suppressed = 0;

  constructor(source: string, options: LoggerOptions) {
    this.#source = source;
    this.#options = options;
    this.#rank = LOG_LEVELS.indexOf(options.level);
  }

  /** A source of that name with the same level, sink and clock. */
  child(source: string): Logger {
    return new Logger(source, this.#options);
  }

  /** For callers that would have to compute their message. */
  isEnabled(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) <= this.#rank;
  }

  error(message: string): void {
    this.#log('error', message);
  }

  warn(message: string): void {
    this.#log('warn', message);
  }

  info(message: string): void {
    this.#log('info', message);
  }

  debug(message: string): void {
    this.#log('debug', message);
  }

  trace(message: string): void {
    this.#log('trace', message);
  }

  #log(level: MessageLevel, message: string): void {
    if (!this.isEnabled(level)) return;
    const nowNs = this.#options.clock.nowNs();
    if (nowNs - this.#windowStartNs >= WINDOW_NS) this.#openWindow(nowNs);
    if (this.#written === BURST) {
      this.#suppressed += 1;
      return;
    }
    this.#written += 1;
    this.#options.sink(level, this.#source, message);
  }

  #openWindow(nowNs: number): void {
    if (this.#suppressed > 0) this.#options.sink('warn', this.#source, `${this.#suppressed} messages left out`);
    this.#windowStartNs = nowNs;
    this.#written = 0;
    this.#suppressed = 0;
  }
}

/** A message as it is shown, without a line's end. */
export function logLine(level: MessageLevel, source: string, message: string): string {
  return `${level}: ${source}: ${printable(message)}`;
}

/** Control characters of a guest must not reach the user's terminal. */
function printable(message: string): string {
  return message.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

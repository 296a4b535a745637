import { Itimerspec, timerfdCreate, timerfdSettime } from '#sys/event.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber, viewOf } from '#util/struct.ts';

const NS_PER_SECOND = 1e9;

/** A timer of the monotonic clock that becomes readable when it expires. */
export class TimerFd implements HasFd, Disposable {
  readonly #fd: Fd;
  readonly #time = new Uint8Array(Itimerspec.size);
  readonly #spec = Itimerspec.at(viewOf(this.#time));
  readonly #count = new Uint8Array(8);
  readonly #countView = viewOf(this.#count);

  /** Disarmed. Throws SyscallError. */
  constructor() {
    this.#fd = new Fd(timerfdCreate());
  }

  get fd(): number {
    return this.#fd.fd;
  }

  /** Expires in `delayNs` (a delay of 0 or less: at once), then every `intervalNs` unless that is 0. Replaces what was set. */
  arm(delayNs: number, intervalNs = 0): void {
    assert(Number.isFinite(delayNs) && Number.isFinite(intervalNs) && intervalNs >= 0, 'a time');
    const delay = Math.max(1, Math.round(delayNs));
    const interval = Math.round(intervalNs);
    this.#spec.valueSec = Math.floor(delay / NS_PER_SECOND);
    this.#spec.valueNsec = delay % NS_PER_SECOND;
    this.#spec.intervalSec = Math.floor(interval / NS_PER_SECOND);
    this.#spec.intervalNsec = interval % NS_PER_SECOND;
    timerfdSettime(this.fd, this.#time);
  }

  /** A disarmed timer does not expire, and an expiry that was not read is forgotten. */
  disarm(): void {
    this.#time.fill(0);
    timerfdSettime(this.fd, this.#time);
  }

  /** How often it has expired since the last read, or undefined when it has not. */
  read(): number | undefined {
    if (tryRead(this.fd, this.#count) === undefined) return undefined;
    return u64AsNumber.get(this.#countView, 0);
  }

  close(): void {
    this.#fd.close();
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

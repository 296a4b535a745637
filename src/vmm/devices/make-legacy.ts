/** Legacy devices in processes of their own: the keyboard controller's reset and the real-time clock. Neither has guest memory. */

import type { BusDevice } from '#devices/bus-device.ts';
import { IrqfdLine } from '#devices/irqfd-line.ts';
import { Cmos } from '#devices/legacy/cmos.ts';
import { I8042 } from '#devices/legacy/i8042.ts';
import { serveBusDevice } from '#devices/proxy/proxied-bus-device.ts';
import type { DeviceMaker } from '#jail/warden-process.ts';
import { decodeBytes } from '#msg-socket/bytes.ts';
import { struct } from '#msg-socket/composites.ts';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import { u64AsNumber, unit } from '#msg-socket/scalars.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { type Clock, hostClock } from '#util/clock.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import { MachineReport } from '#vm-control/machine-report.ts';

/** Main has this long to take a report, for which there is always room. */
const REPORT_TIMEOUT_MS = 500;
/** The longest wait while an interrupt is due at a time of day: the host's may be set anew meanwhile. */
const TIMED_WAIT_MS_MAX = 1000;
const NS_PER_MS = 1e6;

/** What main says of the clock; the eventfd of its interrupt is its one descriptor. */
export const CmosParameters = struct({ lowMemoryBytes: u64AsNumber, highMemoryBytes: u64AsNumber });
export const I8042Parameters = unit;

/** Its one descriptor is the end of MachineReport that tells. */
export const makeI8042: DeviceMaker = ({ socket, fds, parameters }) => {
  decodeBytes(I8042Parameters, parameters);
  const reporter = MachineReport.client(only(fds), { sendMs: REPORT_TIMEOUT_MS, receiveMs: REPORT_TIMEOUT_MS });
  let hasReported = false;
  const onReset = (): void => {
    // Once: a guest that asks without end must not fill the socket.
    if (!hasReported) reporter.reset();
    hasReported = true;
  };
  const loop = new LegacyLoop({ socket: new Fd(socket), device: new I8042(onReset) });
  return () => loop.run();
};

export const makeCmos: DeviceMaker = ({ socket, fds, parameters }) => {
  const interrupt = new IrqfdLine(EventFd.fromFd(only(fds)));
  const options = { ...decodeBytes(CmosParameters, parameters), clock: hostClock, interrupt };
  const device = new Cmos(new Int32Array(Cmos.STATE_WORDS), options);
  const loop = new LegacyLoop({ socket: new Fd(socket), device, timed: { source: device, clock: hostClock } });
  return () => loop.run();
};

function only(fds: readonly number[]): Fd {
  const [fd] = fds;
  assert(fd !== undefined && fds.length === 1, 'one descriptor of its own');
  return new Fd(fd);
}

export interface LegacyLoopParts {
  /** The bus. */
  readonly socket: Fd;
  readonly device: BusDevice;
  /** What the device does at times. */
  readonly timed?: { readonly source: DeadlineSource; readonly clock: Clock };
}

/** Answers the bus, and lets the device do what is due. */
export class LegacyLoop {
  readonly #poll = new PollContext<'bus'>(namedTokens('bus'));
  readonly #server: ProtocolServer;
  readonly #timed: LegacyLoopParts['timed'];
  #isEnding = false;

  constructor({ socket, device, timed }: LegacyLoopParts) {
    this.#timed = timed;
    this.#server = serveBusDevice(socket, device, {
      // It uses no guest memory. An interrupt that it raises while the guest stands still waits in the chips.
      onSuspend: () => {},
      onResume: () => {},
      onShutdown: () => {
        this.#isEnding = true;
      },
    });
    this.#poll.add(this.#server, 'bus');
  }

  /** The exit status. */
  run(): number {
    while (!this.#isEnding) this.turn();
    return 0;
  }

  /** Does what waits or is due. Waits for it at most `timeoutMs`, without end when absent. */
  turn(timeoutMs?: number): void {
    const dueMs = this.#dueMs();
    const events = this.#poll.wait(timeoutMs === undefined ? dueMs : Math.min(timeoutMs, dueMs ?? timeoutMs));
    if (events.length > 0 && this.#server.tryServeOne() === false) this.#isEnding = true;
    if (this.#timed !== undefined) this.#timed.source.advance(this.#timed.clock.nowNs());
  }

  /** How long nothing is due; undefined for without end. In whole milliseconds: interrupts that are closer than that are one. */
  #dueMs(): number | undefined {
    if (this.#timed === undefined) return undefined;
    const deadlineNs = this.#timed.source.nextDeadlineNs();
    if (deadlineNs === Infinity) return undefined;
    const leftMs = Math.ceil((deadlineNs - this.#timed.clock.nowNs()) / NS_PER_MS);
    return Math.min(Math.max(0, leftMs), TIMED_WAIT_MS_MAX);
  }
}

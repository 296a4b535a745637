/** How the console is made in its process. */
import { virtioConsole } from '#devices/virtio/console/console.ts';
import type { ConsoleOutput, ConsolePort } from '#devices/virtio/console/console-port.ts';
import { NAME_BYTES_MAX, PORTS_MAX } from '#devices/virtio/console/constants.ts';
import { FdInput, FdOutput, nullOutput } from '#devices/virtio/console/host-ends.ts';
import { arrayUpTo, optional, struct } from '#msg-socket/composites.ts';
import type { ValueOf } from '#msg-socket/message-type.ts';
import { bool, oneOf, textUpTo, u8, u16 } from '#msg-socket/scalars.ts';
import type { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import type { Log } from '#util/log.ts';
import { ConsoleControl, ConsoleReport } from '#vm-control/console-control.ts';
import { WatchedOutput } from '../panic-watch.ts';
import { OUTPUT_KINDS } from '../serial-output.ts';
import type { MadeDevice, OwnResources } from './virtio-process.ts';

/** A port; descriptors are places among those of the request. */
const ConsolePortParameters = struct({
  name: optional(textUpTo(NAME_BYTES_MAX)),
  isConsole: bool,
  isTerminal: bool,
  /** Main wants to know of a panic that is told there. */
  isWatched: bool,
  input: optional(u8),
  /** Absent for one that swallows everything. */
  output: optional(struct({ place: u8, kind: oneOf(OUTPUT_KINDS) })),
});
export type ConsolePortParameters = ValueOf<typeof ConsolePortParameters>;

/** What main says of a console. Its descriptors begin with the end of ConsoleControl that answers and that of ConsoleReport that tells. */
export const ConsoleParameters = struct({
  ports: arrayUpTo(ConsolePortParameters, PORTS_MAX),
  isMultiport: bool,
  size: optional(struct({ columns: u16, rows: u16 })),
});
export type ConsoleParameters = ValueOf<typeof ConsoleParameters>;

/** Main has this long to take a report, for which there is always room. */
const REPORT_TIMEOUT_MS = 500;

export function makeConsole({ parameters, fds, log }: OwnResources<ConsoleParameters>): MadeDevice {
  const [control, report] = fds;
  assert(control !== undefined && report !== undefined, 'the ways from and to main');
  const reporter = ConsoleReport.client(report, { sendMs: REPORT_TIMEOUT_MS, receiveMs: REPORT_TIMEOUT_MS });
  let hasPanicked = false;
  const onPanic = (): void => {
    // Once: a guest that says it without end must not fill the socket.
    if (!hasPanicked) reporter.panicked();
    hasPanicked = true;
  };
  const { isMultiport, size } = parameters;
  const ports = parameters.ports.map((port) => portOf(port, { fds, log, onPanic }));
  const device = virtioConsole.create({ ports, isMultiport, log, size });
  return { device, control: ConsoleControl.server(control, { resize: (changed) => device.resize(changed) }) };
}

function portOf(
  { name, isConsole, isTerminal, isWatched, input, output }: ConsolePortParameters,
  { fds, log, onPanic }: { readonly fds: readonly Fd[]; readonly log: Log; readonly onPanic: () => void },
): ConsolePort {
  const at = (place: number): Fd => {
    const fd = fds[place];
    assert(fd !== undefined, 'a descriptor for each end');
    return fd;
  };
  const plain: ConsoleOutput = output === undefined ? nullOutput : new FdOutput(at(output.place), output.kind, log);
  return {
    name,
    isConsole,
    isTerminal,
    input: input === undefined ? undefined : new FdInput(at(input), log),
    output: isWatched ? new WatchedOutput(plain, onPanic) : plain,
  };
}

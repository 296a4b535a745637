import type { SerialInput } from '#arch/x86_64/board.ts';
import { virtioConsole } from '#devices/virtio/console/console.ts';
import { consoleQueueSizes } from '#devices/virtio/console/constants.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { setNonBlocking } from '#sys/file.ts';
import { SocketType, socketpair, trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { CodedError } from '#util/errors.ts';
import { ConsoleControl, ConsoleReport } from '#vm-control/console-control.ts';
import type { SerialConfig } from '../../config.ts';
import { isTextPort } from '../../console-config.ts';
import { openOutput } from '../../serial-output.ts';
import type { TerminalSize } from '../../terminal.ts';
import { ConsoleParameters, type ConsolePortParameters } from '../make-console.ts';
import type { DevicePlan } from './plan.ts';

/** Main's loop waits this long for the console: other work of the machine waits with it. */
const TIMEOUT_MS = 500;

/** What a machine does for its console. */
export interface ConsoleHost {
  /** The terminal that standard input is. */
  readonly terminalSize?: TerminalSize | undefined;
  /** The guest's kernel has said on its console that it panics. */
  readonly onPanic?: () => void;
}

/** Main's ends of a console. */
export interface ConsoleClient {
  /** Where standard input goes, if a port has it. */
  readonly input: InputChannel | undefined;
  /** The terminal's size has changed. */
  resize(size: TerminalSize): void;
}

/** Standard input on its way to the console's process: a socket, which holds what the guest has not taken, up to a limit. */
export class InputChannel implements Pick<SerialInput, 'enqueue'> {
  /** Writable when there is room again. */
  readonly room: HasFd;

  /** The descriptor stays the caller's. */
  constructor(socket: HasFd) {
    this.room = socket;
  }

  enqueue(bytes: Uint8Array): number {
    try {
      return trySend(this.room.fd, bytes, bytes.length) ?? 0;
    } catch (error) {
      // The process is gone, of which the warden tells.
      if (error instanceof SyscallError) return bytes.length;
      throw error;
    }
  }
}

/**
 * Opens what the ports write to. `opened` gets what the device's process has copies of, `owned` what has to live as long as the
 * machine. Throws ConfigError for a path that cannot be used.
 */
export function consolePlan(
  ports: readonly SerialConfig[],
  host: ConsoleHost,
  { opened, owned }: { readonly opened: DisposableStack; readonly owned: DisposableStack },
): { readonly plan: DevicePlan; readonly client: ConsoleClient } {
  const isMultiport = ports.length > 1 || ports.some(({ name }) => name !== undefined);
  const control = ConsoleControl.pair();
  const report = ConsoleReport.pair();
  const fds: Fd[] = [opened.use(control.server), opened.use(report.client)];
  const add = (fd: Fd): number => fds.push(opened.use(fd)) - 1;
  let input: InputChannel | undefined;
  const described = ports.map((port): ConsolePortParameters => {
    const { console, stdin, name } = port;
    const ends = openPort(port, add, opened);
    const common = { isConsole: isTextPort(port), isWatched: console, ...(name !== undefined && { name }), ...ends };
    if (!stdin) return { ...common, isTerminal: false };
    const [ours, theirs] = socketpair(SocketType.STREAM | SocketType.NONBLOCK);
    input = new InputChannel(owned.use(new Fd(ours)));
    return { ...common, isTerminal: host.terminalSize !== undefined, input: add(new Fd(theirs)) };
  });
  const client = owned.adopt(
    ConsoleControl.client(control.client, { sendMs: TIMEOUT_MS, receiveMs: TIMEOUT_MS }),
    (each) => each.close(),
  );
  const server = owned.use(ConsoleReport.server(report.server, { panicked: () => host.onPanic?.() }));
  const parameters = encodeBytes(ConsoleParameters, { ports: described, isMultiport, size: host.terminalSize });
  const { name, policy } = virtioConsole;
  const queueCount = consoleQueueSizes(ports.length, isMultiport).length;
  const plan = { device: 'console', name, policy, queueCount, parameters, fds, server } as const;
  return { plan, client: { input, resize: (size) => tryResize(client, size) } };
}

/** The output, and the input of a stream, by their places among the descriptors. */
function openPort(
  port: SerialConfig,
  add: (fd: Fd) => number,
  opened: DisposableStack,
): Pick<ConsolePortParameters, 'output' | 'input'> {
  const open = openOutput(port);
  if (open === undefined) return {};
  opened.use(open);
  const output = { place: add(open.duplicate()), kind: open.describe().kind };
  if (port.type !== 'unix-stream' || port.stdin) return { output };
  const input = open.duplicate();
  const place = add(input);
  setNonBlocking(input.fd, true);
  // A descriptor of its own: one that is waited for in two ways cannot be twice in an epoll.
  return { output, input: place };
}

function tryResize(client: { resize(size: TerminalSize): void }, size: TerminalSize): void {
  try {
    client.resize(size);
  } catch (error) {
    // It is gone or hangs, of which others tell; the next size comes with the next change.
    if (!(error instanceof CodedError)) throw error;
  }
}

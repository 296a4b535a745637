import { SERIAL_PORTS } from '#arch/x86_64/layout.ts';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import { Fd } from '#sys/fd.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import type { LogLevel } from '#util/log.ts';
import { ConsoleReport } from '#vm-control/console-control.ts';
import type { SerialConfig } from '../../config.ts';
import { openOutput } from '../../serial-output.ts';
import type { SerialParameters } from '../make-serial.ts';
import { type ConsoleHost, InputChannel } from './console.ts';

/** What main makes for a serial port before its process is made. */
export interface SerialPlan {
  /** 0 to 3. */
  readonly port: number;
  readonly name: string;
  readonly policy: string;
  readonly gsi: number;
  readonly parameters: SerialParameters;
  /** What of the kind's own goes to the process behind its log and before its ends; whoever asked for the plan closes all of them. */
  readonly report: Fd;
  readonly ends: readonly Fd[];
  readonly server: ProtocolServer;
  /** Where standard input goes, if this port has it. */
  readonly input: InputChannel | undefined;
}

/**
 * Opens what the port writes to. `opened` gets what the device's process has copies of, `owned` what has to live as long as the
 * machine. Throws ConfigError for a path that cannot be used.
 */
export function serialPlan(
  config: SerialConfig,
  { onPanic, logLevel, isWatched }: Pick<ConsoleHost, 'onPanic'> & { logLevel: LogLevel; isWatched: boolean },
  { opened, owned }: { readonly opened: DisposableStack; readonly owned: DisposableStack },
): SerialPlan {
  const port = config.num - 1;
  const report = ConsoleReport.pair();
  const ends: Fd[] = [];
  const open = openOutput(config);
  if (open !== undefined) {
    opened.use(open);
    ends.push(opened.use(open.duplicate()));
  }
  let input: InputChannel | undefined;
  if (config.stdin) {
    const [ours, theirs] = socketpair(SocketType.STREAM | SocketType.NONBLOCK);
    input = new InputChannel(owned.use(new Fd(ours)));
    ends.push(opened.use(new Fd(theirs)));
  }
  return {
    port,
    name: `serial${port}`,
    policy: 'serial_device',
    gsi: (SERIAL_PORTS[port] as (typeof SERIAL_PORTS)[number]).irq,
    parameters: {
      ...(open !== undefined && { output: { kind: open.describe().kind } }),
      hasInput: config.stdin,
      isWatched,
      logLevel,
    },
    report: opened.use(report.client),
    ends,
    server: owned.use(ConsoleReport.server(report.server, { panicked: () => onPanic?.() })),
    input,
  };
}

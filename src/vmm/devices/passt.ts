/** passt(1) as a child process: the network of a guest without any privilege. */
import { spawn } from 'node:child_process';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { OpenFlag, setNonBlocking, tryRead } from '#sys/file.ts';
import { pidfdOpen, pidfdSendSignal } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { ConfigError } from '../config.ts';
import type { NetSource } from '../net-config.ts';
import type { DeviceHelper } from './plans/plan.ts';

type UserNet = NetSource & { readonly kind: 'user' };

/** Where passt finds its end of the socket, and where it complains. */
const CHILD_FD = { STDERR: 2, SOCKET: 3 } as const;
const COMPLAINT_BYTES_MAX = 2048;
const END_TIMEOUT_MS = 2000;
/** Where there is no system logger, passt says of each line that it could not log it. */
const NOISE = /^Failed to send \d+ bytes to syslog$|^Don't run as root\. Changing to nobody\.\.\.$/;

/** The guest's network whatever the host's is: QEMU's, which guests and their users know. */
const ADDRESS = { guest: '10.0.2.15', prefix: '24', gateway: '10.0.2.2', gatewayMac: '52:55:0a:00:02:02' } as const;
/**
 * Told by DHCP. Larger packets cost less each; but passt takes a frame that comes in two pieces for lost, and a Unix socket takes
 * only what has less than 32 KiB in one piece (net/unix/af_unix.c, unix_stream_sendmsg).
 */
const MTU_BYTES = 32_000;

/** The arguments of passt; without options that change what is shown, since versions differ in them. */
export function passtArguments({ hostForwards, hostLoopback }: UserNet): string[] {
  const forwards = (protocol: 'tcp' | 'udp', option: string): string[] => {
    const ports = hostForwards.filter((each) => each.protocol === protocol);
    const specs = ports.map(({ hostAddress, hostPort, guestPort }) => `${hostAddress}/${hostPort}:${guestPort}`);
    return (specs.length === 0 ? ['none'] : specs).flatMap((spec) => [option, spec]);
  };
  const { guest, prefix, gateway, gatewayMac } = ADDRESS;
  return [
    ...['--foreground', '--quiet', '--stderr', '--fd', String(CHILD_FD.SOCKET)],
    ...['--address', guest, '--netmask', prefix, '--gateway', gateway],
    ...['--mac-addr', gatewayMac, '--mtu', String(MTU_BYTES)],
    ...forwards('tcp', '--tcp-ports'),
    ...forwards('udp', '--udp-ports'),
    ...(hostLoopback ? [] : ['--no-map-gw']),
  ];
}

/** A running passt. It ends when its socket is closed, thus with the device's process, and at the latest when this is disposed of. */
export class Passt implements DeviceHelper {
  readonly #pidfd: Fd;
  readonly #complaints: Fd;

  private constructor(pidfd: Fd, complaints: Fd) {
    this.#pidfd = pidfd;
    this.#complaints = complaints;
  }

  /** Returns the device's end of the socket, non-blocking, with it. Throws ConfigError without the program, SyscallError. */
  static start(net: UserNet): { readonly passt: Passt; readonly socket: Fd } {
    using owned = new DisposableStack();
    const [ourFd, theirFd] = socketpair(SocketType.STREAM);
    const socket = owned.use(new Fd(ourFd));
    using theirs = new Fd(theirFd);
    setNonBlocking(socket.fd, true);
    // Non-blocking at both ends: what nobody reads must not hold up the guest's packets.
    const { reader, writer } = openPipe(OpenFlag.NONBLOCK);
    owned.use(reader);
    using complaints = writer;
    const stdio: ('ignore' | number)[] = ['ignore', 'ignore'];
    stdio[CHILD_FD.STDERR] = complaints.fd;
    stdio[CHILD_FD.SOCKET] = theirs.fd;
    // A session of its own: what a terminal sends to everyone is main's to decide about.
    const child = spawn('passt', passtArguments(net), { stdio, detached: true, cwd: '/' });
    // A failed start is this event too, and without a listener it would end the process.
    child.on('error', () => {});
    child.unref();
    if (child.pid === undefined) {
      const message = 'user needs the program passt, which does not start: install the package passt';
      throw new ConfigError([{ option: '--net', message }]);
    }
    const passt = new Passt(new Fd(pidfdOpen(child.pid)), reader);
    owned.move();
    return { passt, socket };
  }

  /** Readable from its end on. */
  get fd(): number {
    return this.#pidfd.fd;
  }

  /** What passt said last. */
  describeEnd(): string {
    const bytes = new Uint8Array(64 * 1024);
    const said = Buffer.from(bytes.subarray(0, tryRead(this.#complaints.fd, bytes) ?? 0)).toString('latin1');
    const lines = said.split('\n').filter((line) => line !== '' && !NOISE.test(line));
    const last = lines
      .join('; ')
      .replaceAll(/[^ -~]/g, '?')
      .slice(-COMPLAINT_BYTES_MAX);
    return `passt, which is its network, has ended${last === '' ? '' : `: ${last}`}`;
  }

  [Symbol.dispose](): void {
    // With the device's process the other end of its socket has gone, and it ends by itself.
    if (pollFd(this.fd, PollFlag.IN, END_TIMEOUT_MS) === 0) this.#terminate();
    this.#pidfd.close();
    this.#complaints.close();
  }

  #terminate(): void {
    try {
      pidfdSendSignal(this.fd, Signal.SIGTERM);
      pollFd(this.fd, PollFlag.IN, END_TIMEOUT_MS);
    } catch (error) {
      // Root's passt has become nobody's process, which main without capabilities may not signal: the end of the device's process ends it.
      if (!(error instanceof SyscallError && error.errno === Errno.EPERM)) throw error;
    }
  }
}

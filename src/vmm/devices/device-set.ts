import { DeviceProxy } from '#devices/proxy/device-protocol.ts';
import type { ProxyEnd } from '#devices/proxy/proxied-bus-device.ts';
import type { ProxiedFunction } from '#devices/proxy/proxied-function.ts';
import { statusText } from '#jail/forked-process.ts';
import { REMEDIES } from '#jail/remedies.ts';
import type { Warden, WardenEvent } from '#jail/warden.ts';
import { PollContext } from '#poll/poll-context.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import type { HasFd } from '#sys/fd.ts';
import { Signal } from '#sys/signal.ts';
import { CodedError } from '#util/errors.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { IsolatedDevice } from '../legacy-config.ts';
import { callName } from '../policies.ts';
import { type CreateDevicesOptions, type CreatedDevice, createDevices, type DeviceServer } from './create-devices.ts';
import type { BalloonClient } from './plans/balloon.ts';
import type { DiskClient } from './plans/block.ts';
import type { ConsoleClient, InputChannel } from './plans/console.ts';
import { startWarden } from './start-warden.ts';

export interface DeviceSetOptions extends Omit<CreateDevicesOptions, 'warden'> {
  /** Becomes the set's, which starts one otherwise. */
  readonly warden?: Warden | undefined;
  /** Told of each device that is in its jail, when main hears of it. */
  readonly onJailed?: (name: string) => void;
  /** How long the machine's end waits for a device that does not answer; by default 10,000. */
  readonly shutdownTimeoutMs?: number;
}

const TOKEN = { WARDEN: 0, SOURCES: 1 } as const;
/** TASK_COMM_LEN without its NUL, linux/sched.h. */
const THREAD_NAME_CHARACTERS = 15;

/** Something of a device that main waits for; `turn` returns why the machine cannot go on, if so. */
interface Source {
  readonly waiting: HasFd;
  readonly turn: () => string | undefined;
}

/** On a loaded machine a jail takes seconds. */
const JAILED_TIMEOUT_MS = 30_000;

/** A disk may have much to bring to the medium. */
const SHUTDOWN_TIMEOUT_MS = 10_000;

/** The device processes of a machine, as its control loop sees them: something to wait for, and what comes of it. */
export class DeviceSet implements Disposable {
  /** Main's end of the balloon's control. */
  readonly balloon: BalloonClient;
  /** Main's ends of the console, where the machine has one. */
  readonly console: ConsoleClient | undefined;
  /** Where standard input goes, if a serial port with a process has it. */
  readonly serialInput: InputChannel | undefined;
  /** The same of each disk. */
  readonly disks: readonly DiskClient[];
  readonly #owned = new DisposableStack();
  readonly #poll = this.#owned.use(new PollContext(u64AsNumber));
  readonly #warden: Warden;
  readonly #devices: readonly CreatedDevice[];
  readonly #sources: readonly Source[];
  readonly #options: DeviceSetOptions;
  /** The warden's numbers of the devices that are in their jails, and run. */
  readonly #jailed = new Set<number>();
  /** By the warden's number of a device: the call that its filter has denied last. */
  readonly #deniedCalls = new Map<number, number>();

  /** Starts the warden and asks for the devices: `waitUntilJailed` waits for them. Throws ConfigError, WardenError, SyscallError. */
  constructor(options: DeviceSetOptions) {
    const { memory } = options;
    try {
      this.#options = options;
      this.#warden = this.#owned.use(options.warden ?? startWarden());
      this.#warden.giveGuestMemory(memory.fd);
      const { devices, balloon, console, serialInput, disks } = createDevices(
        { ...options, warden: this.#warden },
        this.#owned,
      );
      this.#devices = devices;
      this.balloon = balloon;
      this.console = console;
      this.serialInput = serialInput;
      this.disks = disks;
      this.#poll.add(this.#warden, TOKEN.WARDEN);
      this.#sources = this.#devices.flatMap((device) => this.#sourcesOf(device));
      for (const [index, { waiting }] of this.#sources.entries()) this.#poll.add(waiting, TOKEN.SOURCES + index);
    } catch (error) {
      this.#owned.dispose();
      throw error;
    }
  }

  /** Readable when `turn` has something to do. */
  get waiting(): HasFd {
    return this.#poll;
  }

  /** For the PCI buses of the vCPU threads. */
  get pciFunctions(): readonly ProxiedFunction[] {
    return this.#devices.flatMap(({ place }) => (place.kind === 'pci' ? [place.pciFunction] : []));
  }

  /** The serial ports that have processes, by their numbers from 0 on: for the boards of the vCPU threads. */
  get serialPorts(): Readonly<Record<number, ProxyEnd>> {
    const ends = this.#devices.flatMap(({ place, end }) =>
      place.kind === 'serial' ? [[place.port, end] as const] : [],
    );
    return Object.fromEntries(ends);
  }

  /** Of the devices of the board that have processes. */
  get isolated(): Readonly<Partial<Record<IsolatedDevice, ProxyEnd>>> {
    const ends = this.#devices.flatMap(({ place, end }) =>
      place.kind === 'i8042' || place.kind === 'cmos' ? [[place.kind, end] as const] : [],
    );
    return Object.fromEntries(ends);
  }

  /** Does what waits; returns why the machine cannot go on, if so. */
  turn(): string | undefined {
    const events = this.#poll.wait(0);
    for (let index = 0; index < events.length; index++) {
      const { token } = events.at(index);
      const failure = this.#handle(token);
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  /** Waits until every device is in its jail; returns why one is not. What the host refuses is known before the guest runs. */
  waitUntilJailed(): string | undefined {
    // The events that come before an answer are kept, and no longer to be waited for.
    const failure = this.#awaitForks() ?? this.#hearWarden();
    if (failure !== undefined) return failure;
    const deadlineMs = performance.now() + JAILED_TIMEOUT_MS;
    while (this.#jailed.size < this.#devices.length) {
      const leftMs = Math.ceil(deadlineMs - performance.now());
      if (leftMs <= 0 || pollFd(this.waiting.fd, PollFlag.IN, leftMs) === 0)
        return `the device processes have not been ready within ${JAILED_TIMEOUT_MS / 1000} s`;
      const failure = this.turn();
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  /** As `turn`, for up to `timeoutMs` until there is a reason: a vCPU sees a device's end before the warden tells of it. */
  failure(timeoutMs: number): string | undefined {
    const deadlineMs = performance.now() + timeoutMs;
    for (let leftMs = timeoutMs; leftMs > 0; leftMs = Math.ceil(deadlineMs - performance.now())) {
      if (pollFd(this.waiting.fd, PollFlag.IN, leftMs) === 0) return undefined;
      const failure = this.turn();
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  /** For after the end of the vCPU threads: the devices write what they hold back, and their processes end. */
  [Symbol.dispose](): void {
    try {
      const timeoutMs = this.#options.shutdownTimeoutMs ?? SHUTDOWN_TIMEOUT_MS;
      for (const { end } of this.#devices) shutDown(end, timeoutMs);
    } finally {
      this.#owned.dispose();
    }
  }

  #handle(token: number): string | undefined {
    return token === TOKEN.WARDEN ? this.#hearWarden() : this.#sources[token - TOKEN.SOURCES]?.turn();
  }

  #awaitForks(): string | undefined {
    try {
      for (const { requested } of this.#devices) this.#owned.use(this.#warden.forked(requested).pidfd);
      return undefined;
    } catch (error) {
      if (error instanceof CodedError) return error.message;
      throw error;
    }
  }

  #hearWarden(): string | undefined {
    try {
      for (;;) {
        const event = this.#warden.nextEvent(0);
        if (event === undefined) return undefined;
        const failure = this.#failureOf(event);
        if (failure !== undefined) return failure;
      }
    } catch (error) {
      if (error instanceof CodedError) return error.message;
      throw error;
    }
  }

  #failureOf(event: WardenEvent): string | undefined {
    const device = this.#devices.find(({ id }) => id === event.id);
    const name = device?.name ?? `device process ${event.id}`;
    if (event.kind === 'ready') {
      this.#jailed.add(event.id);
      this.#options.onJailed?.(name);
      return undefined;
    }
    if (event.kind === 'denied') return this.#hearDenied(event, device);
    if (event.kind === 'ended') {
      const why = hint(event, device, this.#deniedCalls.get(event.id));
      return `${name}: its process ended: ${statusText(event.status)}${why}`;
    }
    const { step, message } = event.refusal;
    return `${name} cannot be jailed: ${step}: ${message}; ${REMEDIES[step]}; or run it without a jail: --disable-sandbox`;
  }

  /** With --seccomp-log-failures the device goes on; else its end follows. */
  #hearDenied({ id, call }: WardenEvent & { kind: 'denied' }, device: CreatedDevice | undefined): undefined {
    this.#deniedCalls.set(id, call);
    if (this.#options.policies?.logsFailures !== true || device === undefined) return;
    this.#options.logOf(device.name).error(`${device.policy}.policy forbids ${callName(call)}: the call failed`);
  }

  #sourcesOf({ name, servers, helper }: CreatedDevice): Source[] {
    const conversations = servers.map((server) => ({ waiting: server, turn: () => this.#serve(name, server) }));
    if (helper === undefined) return conversations;
    // A device's end is that of its helper too: what the warden has to say is the cause.
    const helperEnd = () => this.#hearWarden() ?? `${name}: ${helper.describeEnd()}`;
    return [...conversations, { waiting: helper, turn: helperEnd }];
  }

  /** Answers a device; one that does not keep to the protocol ends the machine. */
  #serve(name: string, server: DeviceServer): string | undefined {
    try {
      // At its end of file the device is gone, of which the warden tells.
      if (server.tryServeOne() === false) this.#poll.remove(server);
      return undefined;
    } catch (error) {
      if (error instanceof CodedError) return `${name}: ${error.message}`;
      throw error;
    }
  }
}

/**
 * Which call a device's filter killed it for. The warden has not told of it where the host gives no listener, and of calls of another architecture: kernels
 * with audit log those, seccomp(2), "Seccomp auditing"; type 1326 is AUDIT_SECCOMP.
 */
function hint({ status }: WardenEvent & { kind: 'ended' }, device: CreatedDevice | undefined, call?: number): string {
  if (device?.policy === undefined || !('signal' in status) || status.signal !== Signal.SIGSYS) return '';
  const { name, policy } = device;
  if (call !== undefined) return `: it called ${callName(call)}, which ${policy}.policy forbids`;
  const line = `type=1326, comm="${name.slice(0, THREAD_NAME_CHARACTERS)}", syscall=NUMBER`;
  return `: it made a system call that ${policy}.policy forbids; the kernel's log or audit log says which (${line})`;
}

function shutDown({ socketFd, sequence }: ProxyEnd, timeoutMs: number): void {
  const timeouts = { sendMs: timeoutMs, receiveMs: timeoutMs };
  try {
    DeviceProxy.client({ borrowed: { fd: socketFd } }, { ...timeouts, sequence }).shutdown();
  } catch (error) {
    // It is gone already, of which the warden has told, or hangs: the end of the warden ends it.
    if (!(error instanceof CodedError)) throw error;
  }
}

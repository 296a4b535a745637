/** A vCPU's thread: makes its own view of the machine from shared memory and descriptors, and runs the vCPU to its end. */
import { parentPort, workerData } from 'node:worker_threads';
import type { BoardDescription } from '#arch/runnable-linux-vm.ts';
import { Board } from '#arch/x86_64/board.ts';
import { SERIAL_PORTS } from '#arch/x86_64/layout.ts';
import { type ByteSink, nullSink } from '#devices/legacy/byte-sink.ts';
import { busDeviceOf, type ProxyEnd } from '#devices/proxy/proxied-bus-device.ts';
import { type ProxiedFunction, pciFunctionOf } from '#devices/proxy/proxied-function.ts';
import type { Vcpu, VcpuExit, VcpuState, VmDescription } from '#hypervisor/vm.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { setAffinity } from '#sys/scheduling.ts';
import { clockSince, PausableClock } from '#util/clock.ts';
import { errorMessage } from '#util/errors.ts';
import { Logger, type LogLevel } from '#util/log.ts';
import { DebugChannel } from './debug-channel.ts';
import { FdSink, panicStateOf } from './fd-sink.ts';
import { hypervisorOf } from './hypervisors.ts';
import type { IsolatedDevice } from './legacy-config.ts';
import { PanicWatch } from './panic-watch.ts';
import { RunState } from './run-state.ts';
import type { OutputDescription } from './serial-output.ts';
import { stderrSink } from './stderr-sink.ts';

/** What the thread gets when it starts. */
export interface VcpuThreadStart {
  readonly hypervisor: string;
}

export interface VcpuThreadData {
  readonly index: number;
  /** The processors of the host that the thread runs on; undefined for all. */
  readonly hostCpus: readonly number[] | undefined;
  readonly vm: VmDescription;
  readonly state: VcpuState;
  readonly board: BoardDescription;
  /** The functions of the PCI bus besides its host bridge. */
  readonly pciFunctions: readonly ProxiedFunction[];
  /** The serial ports that have processes, by their numbers from 0 on. */
  readonly serialPorts: Readonly<Record<number, ProxyEnd>>;
  /** The other devices of the board that have processes. */
  readonly isolated: Readonly<Partial<Record<IsolatedDevice, ProxyEnd>>>;
  /** By port; undefined for a sink. */
  readonly serialOutputs: readonly (OutputDescription | undefined)[];
  readonly debugOutput: OutputDescription | undefined;
  readonly debugExit: boolean;
  /** The port whose output is watched for a panic. */
  readonly consolePort: number | undefined;
  readonly clockOriginNs: bigint;
  /** Of the PausableClock. */
  readonly clockWords: Float64Array;
  readonly logLevel: LogLevel;
  readonly terminalIsRaw: boolean;
  readonly runState: Int32Array;
  /** Descriptors of eventfds. The main thread closes them: a thread that dies could not. */
  readonly exitFd: number;
  readonly inputSpaceFd: number;
  readonly stopFd: number;
  /** Written when the vCPU stands still. */
  readonly standingFd: number;
  /** Where the machine can be debugged. */
  readonly debug: ThreadDebug | undefined;
}

export interface ThreadDebug {
  /** Of the DebugChannel. */
  readonly buffer: SharedArrayBuffer;
  /** Written when the vCPU has stopped by itself. */
  readonly stoppedFd: number;
}

/** What the thread says once everything that it needs is loaded and made; it waits for RunState.begin then. */
export interface VcpuThreadReady {
  readonly kind: 'ready';
}

/** What the thread says when it ends. */
export interface VcpuThreadReport {
  readonly kind: 'report';
  readonly statistics: Readonly<Record<string, number>>;
  /** What went wrong, for people; a machine that ended as its guest asked has none. */
  readonly problems: readonly string[];
}

/** Runs in the worker; reports to the main thread, however it ends. */
export function runVcpuThread(data: VcpuThreadData): void {
  const problems: string[] = [];
  let statistics: Readonly<Record<string, number>> = {};
  const runState = new RunState(data.runState);
  const exit = eventFdOf(data.exitFd);
  try {
    statistics = runVcpu(data, { runState, exit, problems });
  } catch (error) {
    problems.push(`vCPU ${data.index}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    runState.end('host-error');
  } finally {
    exit.write();
    parentPort?.postMessage({ kind: 'report', statistics, problems } satisfies VcpuThreadReport);
  }
}

interface ThreadContext {
  readonly runState: RunState;
  readonly exit: EventFd;
  readonly problems: string[];
}

function runVcpu(data: VcpuThreadData, context: ThreadContext): Readonly<Record<string, number>> {
  const { runState, exit, problems } = context;
  if (data.hostCpus !== undefined) setAffinity(data.hostCpus);
  const clock = new PausableClock(clockSince(data.clockOriginNs), data.clockWords);
  const log = new Logger(`vcpu${data.index}`, { level: data.logLevel, sink: stderrSink(data.terminalIsRaw), clock });
  using vm = hypervisorOf(data.vm.kind).attachVm(data.vm, { clock, log });
  const inputSpace = eventFdOf(data.inputSpaceFd);
  const stop = eventFdOf(data.stopFd);
  using sinks = new DisposableStack();
  const sinkOf = (output: OutputDescription | undefined, name: string): ByteSink => {
    if (output === undefined) return nullSink;
    const onFailure = (error: Error) => void problems.push(`${name}: output failed: ${errorMessage(error)}`);
    return sinks.use(new FdSink({ output, stop, onFailure }));
  };
  const end = (outcome: 'power-off' | 'reset' | 'debug-exit', value = 0): void => {
    runState.end(outcome, value);
    vm.kick(data.index);
  };
  const deviceFailed = (label: string, reason: string): void => {
    if (!runState.end('host-error')) return;
    problems.push(`${label}: ${reason}`);
    vm.kick(data.index);
  };
  const board = new Board({
    ...data.board,
    irqChip: vm.irqChip,
    ioeventWatcher: vm.ioeventWatcher,
    clock,
    log: log.child('board'),
    pciFunctions: data.pciFunctions.map((described) => pciFunctionOf(described, deviceFailed)),
    remoteSerialPorts: SERIAL_PORTS.map((_, port) => {
      const end = data.serialPorts[port];
      return end && busDeviceOf(end, deviceFailed);
    }),
    remoteI8042: data.isolated.i8042 && busDeviceOf(data.isolated.i8042, deviceFailed),
    remoteCmos: data.isolated.cmos && busDeviceOf(data.isolated.cmos, deviceFailed),
    serialOutputs: SERIAL_PORTS.map((_, port) => {
      const output = data.serialOutputs[port];
      const sink = sinkOf(output, `serial port ${port + 1}`);
      if (port !== data.consolePort) return sink;
      return new PanicWatch(sink, () => runState.notePanic(), output && panicStateOf(output));
    }),
    debugOutput: data.debugOutput && sinkOf(data.debugOutput, 'debug console'),
    debugExit: data.debugExit,
    events: {
      onPowerOff: () => end('power-off'),
      onReset: () => end('reset'),
      onDebugExit: (value) => end('debug-exit', value),
      onInputSpace: () => inputSpace.write(),
    },
  });
  using vcpu = vm.createVcpu(data.index, board);
  vcpu.setState(data.state);
  parentPort?.postMessage({ kind: 'ready' } satisfies VcpuThreadReady);
  runState.waitForBegin();
  const debug = data.debug && {
    channel: new DebugChannel(data.debug.buffer),
    stopped: eventFdOf(data.debug.stoppedFd),
  };
  const result = runToEnd(vcpu, board, { runState, standing: eventFdOf(data.standingFd), debug });
  board.flush();
  noteExit(result, context);
  exit.write();
  return vcpu.statistics();
}

/** Runs the guest, and stands still in between when that is wanted. */
function runToEnd(vcpu: Vcpu, board: Board, standstill: Standstill): VcpuExit {
  const { runState, debug } = standstill;
  for (;;) {
    if (runState.wantsEnd) return KICKED;
    const result = runUnlessHeld(vcpu, standstill);
    if (result.reason === 'debug') {
      debug?.channel.report(vcpu.index, result.stop);
      debug?.stopped.write();
      continue;
    }
    if (result.reason !== 'kicked' || runState.wantsEnd) return result;
    if (runState.wantsStandstill) standStill(vcpu, board, standstill);
    if (runState.wantsEnd) return result;
  }
}

/** A vCPU that a debugger holds waits in place of running. */
function runUnlessHeld(vcpu: Vcpu, { runState, debug }: Standstill): VcpuExit {
  if (debug?.channel.actionOf(vcpu.index) !== 'stay') return vcpu.run();
  runState.waitForWish();
  return KICKED;
}

/** The first vCPU's thread speaks for all to the devices: the main thread must stay free to answer what they ask. */
function standStill({ index, debug: registers }: Vcpu, board: Board, { runState, standing, debug }: Standstill): void {
  board.flush();
  if (index === 0) board.suspendDevices();
  runState.standStill(
    () => standing.write(),
    () => debug?.channel.serve(index, registers),
  );
  if (runState.wantsEnd) return;
  debug?.channel.prepare(index, registers);
  if (index === 0) board.resumeDevices();
}

interface Standstill {
  readonly runState: RunState;
  readonly standing: EventFd;
  readonly debug: { readonly channel: DebugChannel; readonly stopped: EventFd } | undefined;
}

const KICKED: VcpuExit = { reason: 'kicked' };

/** A kick comes from whoever ended the machine, and that is known. */
function noteExit(result: VcpuExit, { runState, problems }: ThreadContext): void {
  if (result.reason === 'kicked') return;
  if (runState.end(result.reason === 'shutdown' ? 'crash' : 'host-error')) problems.push(result.detail);
}

/** Not to be closed here. */
function eventFdOf(fd: number): EventFd {
  return EventFd.fromFd(new Fd(fd));
}

// The thread is started before its machine is there, for it takes a while to load.
if (parentPort !== null) await hypervisorOf((workerData as VcpuThreadStart).hypervisor).loadVcpus();
parentPort?.once('message', (data: VcpuThreadData) => runVcpuThread(data));

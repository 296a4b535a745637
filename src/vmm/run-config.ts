import type { RunnableLinuxVm } from '#arch/runnable-linux-vm.ts';
import { Board } from '#arch/x86_64/board.ts';
import { buildVm } from '#arch/x86_64/build-vm.ts';
import { memoryRanges, SERIAL_PORTS, systemResources } from '#arch/x86_64/layout.ts';
import { nullSink } from '#devices/legacy/byte-sink.ts';
import { EventFd } from '#poll/event-fd.ts';
import { SystemAllocator } from '#resources/system-allocator.ts';
import { MiB } from '#util/bits.ts';
import { type Clock, clockSince, monotonicNs, PausableClock } from '#util/clock.ts';
import { type Log, Logger } from '#util/log.ts';
import { type Config, ConfigError, controlSocketPath, type SerialConfig, withDefaultConsole } from './config.ts';
import { consoleParameters, serialConsoleOf } from './console-config.ts';
import { ControlSocket } from './control-socket.ts';
import { hostAffinityMistakes, hostCpusOf } from './cpu-affinity.ts';
import { DeviceSet } from './devices/device-set.ts';
import { wantsDevices } from './devices/start-warden.ts';
import { type ExitReport, exitCodeOf } from './exit-codes.ts';
import { gdbAddress } from './gdb-config.ts';
import type { GdbListener, GdbServer } from './gdb-server.ts';
import { hypervisorOf } from './hypervisors.ts';
import { MainWalls } from './main-walls.ts';
import { openPmemImages, type PmemImage, pmemRoomBytes } from './pmem-image.ts';
import { Policies } from './policies.ts';
import { type ControlEnd, type InputPort, runControl } from './run-control.ts';
import type { RunConfig, RunEnvironment } from './run-environment.ts';
import { RunState } from './run-state.ts';
import { type OpenOutput, openOutput } from './serial-output.ts';
import { stderrSink } from './stderr-sink.ts';
import { Suspension } from './suspension.ts';
import type { VcpuThreadData } from './vcpu-thread.ts';
import { type ThreadReport, VcpuWorker } from './vcpu-worker.ts';
import { packageVersion } from './version.ts';
import { VmControls } from './vm-controls.ts';

/** Runs one virtual machine to its end. */
export const runConfig: RunConfig = async (config, environment) => {
  const policies = config.sandbox ? new Policies(config) : undefined;
  policies?.check();
  const affinityMistakes = hostAffinityMistakes(config.cpuAffinity ?? []);
  if (affinityMistakes.length > 0) throw new ConfigError(affinityMistakes);
  const walls = policies && new MainWalls(policies);
  using owned = new DisposableStack();
  // First, so that clients see their connections closed when all else has ended.
  const clients = owned.use(new DisposableStack());
  const controlSocket = openControlSocket(config, owned);
  const gdb = await openGdb(config, owned);
  const runState = new RunState();
  const exit = owned.use(EventFd.create());
  // Before the machine is made: they load beside it.
  const threads = Array.from({ length: config.cpus }, (_, index) =>
    owned.use(startThread(index, { runState, exit }, environment)),
  );
  const clockOriginNs = monotonicNs();
  const clock = new PausableClock(clockSince(clockOriginNs));
  const note = noterOf({ config, environment, clock });
  const ports = withDefaultConsole(config.serial);
  const pmemImages = openPmem(config, environment, owned);
  const machine = owned.use(buildMachine(config, environment, { clock, ports, pmemImages }));
  note('the machine is built');
  // After the loaders, which may refuse the user's files: opening an output can create one.
  const outputs = openOutputs(ports, owned);
  const devices = wantsDevices(config)
    ? owned.use(
        createDeviceSet(
          { config: { ...config, serial: ports }, environment, clock, policies, runState, exit, pmemImages },
          machine,
          owned,
        ),
      )
    : undefined;
  note('the devices are asked for');
  const run: Run = {
    machine,
    devices,
    config,
    terminalIsRaw: environment.terminal !== undefined,
    clockOriginNs,
    clock,
    ports,
    outputs,
    runState,
    exit,
    inputSpace: owned.use(EventFd.create()),
    stop: owned.use(EventFd.create()),
    standing: owned.use(EventFd.create()),
    controlSocket,
    gdb,
    clients,
  };
  // From here on no process can be started.
  environment.terminal?.prepare();
  walls?.dropPrivileges();
  for (const [index, thread] of threads.entries()) thread.attach(vcpuThreadData(run, index));
  await Promise.all(threads.map(({ ready }) => ready));
  note('the threads are ready');
  const end = await runGuest(run, environment, { walls, note });
  run.stop.write();
  // Before the kick: a thread that it wakes looks for this, and would run its guest again without it.
  run.runState.askEnd();
  for (const index of threads.keys()) machine.vm.kick(index);
  run.runState.begin();
  const reports = await Promise.all(threads.map((thread) => thread.end()));
  return reportOf(end, run.runState, reports);
};

/** Loads what only a machine that can be debugged needs. */
async function openGdb({ gdb, cpus }: Config, owned: DisposableStack): Promise<GdbListener | undefined> {
  if (gdb === undefined) return undefined;
  const { GdbListener } = await import('./gdb-server.ts');
  return owned.use(new GdbListener(gdb, cpus));
}

interface Run {
  readonly config: Config;
  /** Once the guest runs. */
  readonly terminalIsRaw: boolean;
  readonly machine: RunnableLinuxVm;
  readonly devices: DeviceSet | undefined;
  readonly clockOriginNs: bigint;
  /** The machine's. */
  readonly clock: PausableClock;
  readonly ports: readonly SerialConfig[];
  readonly outputs: ReadonlyMap<SerialConfig, OpenOutput>;
  readonly runState: RunState;
  readonly exit: EventFd;
  readonly inputSpace: EventFd;
  readonly stop: EventFd;
  readonly standing: EventFd;
  readonly controlSocket: ControlSocket | undefined;
  /** Where GDB can connect to. */
  readonly gdb: GdbListener | undefined;
  /** Gets the connections of the control socket's clients. */
  readonly clients: DisposableStack;
}

function openControlSocket({ socketPath }: Config, owned: DisposableStack): ControlSocket | undefined {
  return socketPath === undefined ? undefined : owned.use(new ControlSocket(controlSocketPath(socketPath)));
}

function openPmem(config: Config, { hypervisor }: RunEnvironment, owned: DisposableStack): readonly PmemImage[] {
  if (config.pmems.length === 0) return [];
  const ramEnd = memoryRanges(config.memoryMib * MiB).reduce((_, { start, sizeBytes }) => start + sizeBytes, 0);
  return openPmemImages(config.pmems, hypervisorOf(hypervisor).regionRoomBytesMax(ramEnd), owned);
}

interface LogContext {
  readonly config: Config;
  readonly environment: RunEnvironment;
  readonly clock: Clock;
}

function loggerOf(name: string, { config, environment, clock }: LogContext): Log {
  const sink = stderrSink(environment.terminal !== undefined);
  return new Logger(name, { level: config.logLevel, sink, clock });
}

/** Tells of a step of the start that has been done. */
function noterOf(context: LogContext): (step: string) => void {
  const log = loggerOf('start', context);
  return (step) => {
    log.info(step);
    context.environment.trace?.mark(step);
  };
}

interface DeviceContext extends LogContext {
  readonly policies: Policies | undefined;
  readonly runState: RunState;
  readonly exit: EventFd;
  readonly pmemImages: readonly PmemImage[];
}

function createDeviceSet(
  { config, environment, clock, policies, runState, exit, pmemImages }: DeviceContext,
  { vm, memory, board }: RunnableLinuxVm,
  owned: DisposableStack,
): DeviceSet {
  const allocator = new SystemAllocator(systemResources(board.highMmio));
  const irqRouter = owned.use(vm.createIrqRouter());
  const logOf = (name: string): Log => loggerOf(name, { config, environment, clock });
  const terminalSize = environment.terminal?.size();
  const onPanic = (): void => runState.notePanic();
  const onReset = (): void => {
    if (runState.end('reset')) exit.write();
  };
  const { warden } = environment;
  return new DeviceSet({
    ...config,
    pmemImages,
    memory,
    memoryRegions: vm,
    allocator,
    irqRouter,
    logOf,
    policies,
    warden,
    terminalSize,
    onPanic,
    onReset,
    onJailed: (name) => environment.trace?.mark(`${name} is in its jail`),
  });
}

function openOutputs(ports: readonly SerialConfig[], owned: DisposableStack): Map<SerialConfig, OpenOutput> {
  const outputs = new Map<SerialConfig, OpenOutput>();
  // Processes of devices have those of theirs.
  for (const port of ports.filter(({ hardware, jail }) => hardware !== 'virtio-console' && jail !== true)) {
    const output = openOutput(port);
    if (output !== undefined) outputs.set(port, owned.use(output));
  }
  return outputs;
}

function buildMachine(
  config: Config,
  { hypervisor }: RunEnvironment,
  { clock, ports, pmemImages }: { clock: Clock; ports: readonly SerialConfig[]; pmemImages: readonly PmemImage[] },
): RunnableLinuxVm {
  const components = {
    kernelPath: config.kernelPath,
    initrdPaths: config.initrdPaths,
    memorySizeBytes: config.memoryMib * MiB,
    cpuCount: config.cpus,
    consolePort: portIndex(ports.find((port) => port.console && port.hardware === 'serial')),
    params: [...consoleParameters(ports), ...rootParameters(config), ...config.params],
    version: packageVersion(),
    regionRoomBytes: pmemRoomBytes(pmemImages),
    compiles: config.jit !== false,
  };
  return buildVm(components, hypervisorOf(hypervisor), clock);
}

/** What tells the kernel which disk has its root file system. */
function rootParameters({ disks, pmems }: Config): string[] {
  const named = [
    ...disks.map((disk, index) => ({ ...disk, device: `vd${String.fromCharCode(0x61 + index)}` })),
    ...pmems.map((pmem, index) => ({ ...pmem, device: `pmem${index}` })),
  ];
  const root = named.find((each) => each.root);
  return root === undefined ? [] : [`root=/dev/${root.device}`, root.readOnly ? 'ro' : 'rw'];
}

const portIndex = (port: SerialConfig | undefined): number | undefined => port && port.num - 1;

function startThread(
  index: number,
  { runState, exit }: Pick<Run, 'runState' | 'exit'>,
  { threadOptions, hypervisor }: RunEnvironment,
): VcpuWorker {
  const onDeath = (): void => {
    runState.end('host-error');
    exit.write();
  };
  return new VcpuWorker({ index, hypervisor, threadOptions, onDeath });
}

function vcpuThreadData(run: Run, index: number): VcpuThreadData {
  const { machine, ports, outputs } = run;
  const describe = (port: SerialConfig | undefined) => port && outputs.get(port)?.describe();
  return {
    index,
    hostCpus: hostCpusOf(run.config.cpuAffinity ?? [], index),
    vm: machine.vm.describe(),
    state: machine.vcpuStates[index] as VcpuThreadData['state'],
    board: machine.board,
    debugExit: run.config.debugExit === true,
    pciFunctions: run.devices?.pciFunctions ?? [],
    serialPorts: run.devices?.serialPorts ?? {},
    isolated: run.devices?.isolated ?? {},
    serialOutputs: SERIAL_PORTS.map((_, i) =>
      describe(ports.find((port) => port.hardware === 'serial' && portIndex(port) === i)),
    ),
    debugOutput: describe(ports.find((port) => port.hardware === 'debugcon')),
    consolePort: portIndex(serialConsoleOf(ports)),
    clockOriginNs: run.clockOriginNs,
    clockWords: run.clock.words,
    logLevel: run.config.logLevel,
    terminalIsRaw: run.terminalIsRaw,
    runState: run.runState.words,
    exitFd: run.exit.fd,
    inputSpaceFd: run.inputSpace.fd,
    stopFd: run.stop.fd,
    standingFd: run.standing.fd,
    debug: run.gdb?.forThread,
  };
}

/** From the walls to the machine's end. A device that is not in its jail ends it before the guest has run. */
async function runGuest(
  run: Run,
  environment: RunEnvironment,
  { walls, note }: { readonly walls: MainWalls | undefined; readonly note: (step: string) => void },
): Promise<ControlEnd> {
  const message = run.devices?.waitUntilJailed();
  if (message !== undefined) return { reason: 'device-failed', message };
  note('the devices are jailed');
  walls?.installFilter(run.terminalIsRaw);
  environment.trace?.mark('the walls of main are up');
  for (const line of environment.trace?.lines() ?? []) environment.log(line);
  const suspension = createSuspension(run);
  const gdb = createGdbServer(run, suspension, environment);
  run.runState.begin();
  return await control(run, environment, { suspension, gdb });
}

const exitStatusOf = ({ outcome, exitValue }: RunState): number => {
  if (outcome === undefined) return 0;
  return exitCodeOf(outcome === 'debug-exit' ? { reason: outcome, value: exitValue } : { reason: outcome });
};

interface Holders {
  readonly suspension: Suspension;
  readonly gdb: GdbServer | undefined;
}

/** The guest does not begin before GDB lets it. */
function createGdbServer(run: Run, suspension: Suspension, environment: RunEnvironment): GdbServer | undefined {
  const { gdb: listener, config, clients, machine, runState, clock } = run;
  if (listener === undefined || config.gdb === undefined) return undefined;
  environment.log(`the guest waits for GDB: target remote ${gdbAddress(config.gdb)}`);
  return clients.use(
    listener.serve({
      suspension,
      runState,
      memory: machine.memory,
      features: hypervisorOf(environment.hypervisor).debug,
      vcpuCount: machine.vcpuStates.length,
      log: loggerOf('gdb', { config, environment, clock }),
      exitStatus: () => exitStatusOf(runState),
    }),
  );
}

function control(run: Run, environment: RunEnvironment, { suspension, gdb }: Holders): Promise<ControlEnd> {
  const { machine, devices, ports, runState, exit, inputSpace, clock } = run;
  // The vCPU threads have boards of their own that write; this one feeds input.
  const board = new Board({
    ...machine.board,
    irqChip: machine.vm.irqChip,
    clock,
    serialOutputs: SERIAL_PORTS.map(() => nullSink),
    events: { onPowerOff: () => {}, onReset: () => {}, onInputSpace: () => inputSpace.write() },
  });
  const { terminal } = environment;
  const controls = createControls(run, { board, suspension }, environment);
  const onResize = (): void => {
    const size = terminal?.size();
    if (size !== undefined) devices?.console?.resize(size);
  };
  return runControl({
    runState,
    exit,
    inputSpace,
    input: inputPortOf(ports, board, devices),
    devices,
    controls,
    gdb,
    terminal,
    onResize,
  });
}

/** What standard input feeds. */
function inputPortOf(
  ports: readonly SerialConfig[],
  board: Board,
  devices: DeviceSet | undefined,
): InputPort | undefined {
  const port = ports.find(({ stdin }) => stdin);
  if (port === undefined) return undefined;
  if (port.jail === true) return devices?.serialInput;
  return port.hardware === 'virtio-console' ? devices?.console?.input : board.serialInputs[port.num - 1];
}

function createControls(
  run: Run,
  { board, suspension }: { readonly board: Board; readonly suspension: Suspension },
  { hypervisor }: RunEnvironment,
): VmControls | undefined {
  const { controlSocket, config, clients } = run;
  if (controlSocket === undefined) return undefined;
  const { cpus, memoryMib } = config;
  const facts = { version: packageVersion(), hypervisor, cpus, memoryMib };
  const { balloon, disks = [] } = run.devices ?? {};
  return clients.use(new VmControls({ listener: controlSocket, board, facts, suspension, balloon, disks }));
}

function createSuspension({ machine, runState, standing, clock }: Run): Suspension {
  const kick = (): void => {
    for (const index of machine.vcpuStates.keys()) machine.vm.kick(index);
  };
  const clocks = {
    stop: () => {
      machine.vm.stopClocks();
      clock.stop();
    },
    go: () => {
      clock.go();
      machine.vm.startClocks();
    },
  };
  const vcpuCount = machine.vcpuStates.length;
  return new Suspension({ runState, standing, clock: clocks, kick, vcpuCount });
}

function reportOf(end: ControlEnd, runState: RunState, reports: readonly ThreadReport[]): ExitReport {
  const problems = reports.flatMap((report) => report.problems);
  // What the threads saw of a device's end says less than its process's status.
  if (end.reason === 'device-failed')
    return { reason: 'host-error', message: end.message, stats: statisticsOf(reports) };
  const details = {
    ...(problems.length > 0 && { message: problems.join('\n') }),
    stats: statisticsOf(reports),
  };
  if (end.reason === 'signal') return { reason: 'signal', signal: end.signal, ...details };
  if (end.reason === 'stopped') return { reason: 'stopped', ...details };
  const outcome = runState.outcome ?? 'host-error';
  if (outcome === 'debug-exit') return { reason: outcome, value: runState.exitValue, ...details };
  // A kernel that panics reboots at once: what it said before tells the two apart.
  return { reason: outcome === 'reset' && runState.panicked ? 'panic' : outcome, ...details };
}

const statisticsOf = (reports: readonly ThreadReport[]): Record<string, number> =>
  sum(reports.map((report) => report.statistics));

function sum(records: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) total[name] = (total[name] ?? 0) + value;
  }
  return total;
}

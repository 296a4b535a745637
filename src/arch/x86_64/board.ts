import { Bus } from '#devices/bus.ts';
import type { BusDevice } from '#devices/bus-device.ts';
import { AcpiPm } from '#devices/legacy/acpi-pm.ts';
import type { ByteSink } from '#devices/legacy/byte-sink.ts';
import { Cmos } from '#devices/legacy/cmos.ts';
import { DebugConsole } from '#devices/legacy/debug-console.ts';
import { DebugExit } from '#devices/legacy/debug-exit.ts';
import { I8042 } from '#devices/legacy/i8042.ts';
import { PortSink } from '#devices/legacy/port-sink.ts';
import { ResetControl } from '#devices/legacy/reset-control.ts';
import { Serial } from '#devices/legacy/serial.ts';
import { PciConfigIo } from '#devices/pci/pci-config-io.ts';
import { PciConfigMmio } from '#devices/pci/pci-config-mmio.ts';
import type { PciFunction } from '#devices/pci/pci-device.ts';
import { PciRoot } from '#devices/pci/pci-root.ts';
import type { IoeventWatcher } from '#hypervisor/ioevent-watcher.ts';
import type { IrqChip, IrqChipPart } from '#hypervisor/irq-chip.ts';
import type { VcpuBus } from '#hypervisor/vm.ts';
import { assert } from '#util/assert.ts';
import type { Clock } from '#util/clock.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import { LockedDevice } from '#util/locked-device.ts';
import type { Logger } from '#util/log.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import { carver } from '#util/state-words.ts';
import {
  ACPI_PM_SIZE,
  type AddressRange,
  IO_APIC_ADDRESS,
  IRQ,
  PCI_CONFIG_SIZE,
  PCI_ECAM,
  PCI_LOW_MMIO,
  PORT,
  PORT_COUNT,
  SERIAL_PORT_SIZE,
  SERIAL_PORTS,
} from './layout.ts';

/** What the devices do to the machine as a whole. Called on the accessing thread. */
export interface BoardEvents {
  onPowerOff(): void;
  onReset(): void;
  /** The guest ends the machine with a value, by a port that `debugExit` asks for. */
  onDebugExit?(value: number): void;
  /** A serial port (0 to 3) may take input again. */
  onInputSpace(port: number): void;
}

export interface BoardOptions {
  /** BOARD_STATE_WORDS words that all threads share, zeroed when the machine is new. */
  readonly state: Int32Array;
  readonly irqChip: IrqChip;
  /** Where the hypervisor signals eventfds of PCI functions by itself, if it does. */
  readonly ioeventWatcher?: IoeventWatcher | undefined;
  readonly clock: Clock;
  /** One for each of the four serial ports. */
  readonly serialOutputs: readonly ByteSink[];
  /** By port: this thread's objects for those whose devices are in other processes. They have no `serialInputs` that take anything. */
  readonly remoteSerialPorts?: readonly (BusDevice | undefined)[];
  /** As `remoteSerialPorts`: the keyboard controller and the real-time clock. */
  readonly remoteI8042?: BusDevice | undefined;
  readonly remoteCmos?: BusDevice | undefined;
  /** Present when the machine has a debug console. */
  readonly debugOutput?: ByteSink | undefined;
  /** Whether the machine has the port by which a test kernel ends it. */
  readonly debugExit?: boolean;
  readonly lowMemoryBytes: number;
  readonly highMemoryBytes: number;
  /** The high MMIO of PCI devices; of no size when there is none. */
  readonly highMmio: AddressRange;
  /** This thread's objects for the functions on the PCI bus besides its host bridge, function 0 of each device first. */
  readonly pciFunctions?: readonly PciFunction[];
  readonly events: BoardEvents;
  /** Told of accesses that no device answers, at level debug. */
  readonly log?: Logger | undefined;
}

/** A serial port as the host's side uses it, from any thread. */
export interface SerialInput {
  /** Bytes that `enqueue` would take now. */
  space(): number;
  /**
   * Gives bytes to the guest as far as there is room; returns how many, or undefined when the port is busy: a vCPU may wait in it
   * for as long as the reader of its output likes.
   */
  enqueue(bytes: Uint8Array): number | undefined;
}

const NO_INPUT: SerialInput = { space: () => 0, enqueue: () => 0 };

/** Every stateful device has a lock of its own before its words. */
const STATE_WORDS = {
  SERIAL: SharedMutex.STATE_WORDS + Serial.STATE_WORDS,
  CMOS: SharedMutex.STATE_WORDS + Cmos.STATE_WORDS,
  I8042: SharedMutex.STATE_WORDS,
  ACPI_PM: SharedMutex.STATE_WORDS + AcpiPm.STATE_WORDS,
  RESET_CONTROL: SharedMutex.STATE_WORDS + ResetControl.STATE_WORDS,
} as const;
export const BOARD_STATE_WORDS =
  SERIAL_PORTS.length * STATE_WORDS.SERIAL +
  STATE_WORDS.CMOS +
  STATE_WORDS.I8042 +
  STATE_WORDS.ACPI_PM +
  STATE_WORDS.RESET_CONTROL +
  // Guests serialise their configuration accesses; the functions have locks of their own.
  PciConfigIo.STATE_WORDS +
  PciRoot.STATE_WORDS;

/** The port that each part of the interrupt system has, and how many; the I/O APIC is in memory. */
const IRQ_CHIP_PORTS: Readonly<Record<Exclude<IrqChipPart, 'io-apic'>, { start: number; sizeBytes: number }>> = {
  'pic-master': { start: PORT.PIC_MASTER, sizeBytes: 2 },
  'pic-slave': { start: PORT.PIC_SLAVE, sizeBytes: 2 },
  'pic-edge-level-control': { start: PORT.PIC_ELCR, sizeBytes: 2 },
  pit: { start: PORT.PIT, sizeBytes: 4 },
  'system-control': { start: PORT.SYSTEM_CONTROL, sizeBytes: 1 },
};
const IO_APIC_SIZE = 0x1000;
const DEBUG_EXIT_SIZE = 4;
/** Longer than any access of a guest takes, short beside what a user notices. */
const INPUT_LOCK_TIMEOUT_MS = 10;

/**
 * The legacy devices of the x86_64 machine on their buses, as one thread sees them: every thread makes its own board over the
 * same state.
 */
export class Board implements VcpuBus, DeadlineSource {
  readonly ports = new Bus();
  readonly mmio = new Bus();
  readonly serialInputs: readonly SerialInput[];
  readonly timers: DeadlineSource = this;
  readonly #clockDevices: readonly LockedDevice[];
  readonly #outputs: readonly ByteSink[];
  readonly #pciRoot: PciRoot;
  readonly #acpiPm: AcpiPm;
  readonly #lockedAcpiPm: LockedDevice;
  /** Undefined where nobody would read it. */
  readonly #unclaimed: ((what: string, address: number, data: Uint8Array) => void) | undefined;

  constructor(options: BoardOptions) {
    const { state, irqChip, clock, events } = options;
    assert(state.length >= BOARD_STATE_WORDS, 'the state is too small');
    assert(options.serialOutputs.length === SERIAL_PORTS.length, 'an output for each serial port');
    this.#outputs = [...options.serialOutputs, ...(options.debugOutput ? [options.debugOutput] : [])];
    const { log } = options;
    if (log?.isEnabled('debug')) {
      this.#unclaimed = (what, address, data) =>
        log.debug(`${what} 0x${address.toString(16)}, ${data.length} bytes: no device is there`);
    }
    const carve = carver(state);
    this.#insertIrqChip(irqChip);
    this.serialInputs = SERIAL_PORTS.map((_, index) => this.#insertSerial(index, carve(STATE_WORDS.SERIAL), options));
    const cmos = this.#insertCmos(carve(STATE_WORDS.CMOS), options);
    const acpiPm = locked(
      carve(STATE_WORDS.ACPI_PM),
      (words) => new AcpiPm(words, { clock, interrupt: irqChip.line(IRQ.SCI), onPowerOff: () => events.onPowerOff() }),
    );
    this.ports.insert(acpiPm.device, { start: PORT.ACPI_PM, sizeBytes: ACPI_PM_SIZE }, 'relative');
    this.#acpiPm = acpiPm.inner;
    this.#lockedAcpiPm = acpiPm.device;
    const resetControl = locked(
      carve(STATE_WORDS.RESET_CONTROL),
      (words) => new ResetControl(words, () => events.onReset()),
    );
    this.ports.insert(resetControl.device, { start: PORT.RESET_CONTROL, sizeBytes: 1 }, 'relative');
    this.#pciRoot = this.#insertPci(carve(PciConfigIo.STATE_WORDS), carve(PciRoot.STATE_WORDS), options);
    const i8042State = carve(STATE_WORDS.I8042);
    this.#insertI8042(i8042State, options);
    this.#insertStateless(options);
    this.#clockDevices = cmos === undefined ? [acpiPm.device] : [cmos, acpiPm.device];
  }

  /** The user presses the power button. From any thread. */
  pressPowerButton(): void {
    this.#lockedAcpiPm.run(() => this.#acpiPm.pressPowerButton());
  }

  /** Stops what devices do by themselves in processes of their own: they touch no guest memory. On a thread with the PCI functions. */
  suspendDevices(): void {
    this.#pciRoot.suspend();
  }

  resumeDevices(): void {
    this.#pciRoot.resume();
  }

  readPort(port: number, data: Uint8Array): void {
    if (this.ports.read(port, data)) return;
    data.fill(0xff);
    this.#unclaimed?.('read of port', port, data);
  }

  writePort(port: number, data: Uint8Array): void {
    if (!this.ports.write(port, data)) this.#unclaimed?.('write to port', port, data);
  }

  readMmio(address: number, data: Uint8Array): void {
    if (this.mmio.read(address, data)) return;
    data.fill(0xff);
    this.#unclaimed?.('read of address', address, data);
  }

  writeMmio(address: number, data: Uint8Array): void {
    if (!this.mmio.write(address, data)) this.#unclaimed?.('write to address', address, data);
  }

  flush(): void {
    for (const output of this.#outputs) output.flush?.();
  }

  nextDeadlineNs(): number {
    let next = Infinity;
    for (const device of this.#clockDevices) next = Math.min(next, device.nextDeadlineNs());
    return next;
  }

  advance(nowNs: number): void {
    for (const device of this.#clockDevices) device.advance(nowNs);
  }

  #insertIrqChip(irqChip: IrqChip): void {
    for (const [part, device] of irqChip.parts) {
      if (part === 'io-apic') {
        this.mmio.insert(device, { start: IO_APIC_ADDRESS, sizeBytes: IO_APIC_SIZE }, 'relative');
      } else this.ports.insert(device, IRQ_CHIP_PORTS[part], 'relative');
    }
  }

  /** Ports that share an interrupt are different sources of it. */
  #insertSerial(index: number, state: Int32Array, options: BoardOptions): SerialInput {
    const { irqChip, events, serialOutputs, remoteSerialPorts = [] } = options;
    const { ioBase, irq } = SERIAL_PORTS[index] as (typeof SERIAL_PORTS)[number];
    const range = { start: ioBase, sizeBytes: SERIAL_PORT_SIZE };
    const remote = remoteSerialPorts[index];
    if (remote !== undefined) {
      this.ports.insert(new LockedDevice(remote, new SharedMutex(state)), range, 'relative');
      return NO_INPUT;
    }
    const source = SERIAL_PORTS.slice(0, index).filter((port) => port.irq === irq).length;
    const { device, inner } = locked(
      state,
      (words) =>
        new Serial(words, {
          name: `serial${index}`,
          interrupt: irqChip.line(irq, source),
          output: serialOutputs[index] as ByteSink,
          onInputSpace: () => events.onInputSpace(index),
        }),
    );
    this.ports.insert(device, range, 'relative');
    return {
      space: () => device.run(() => inner.inputSpace()),
      enqueue: (bytes) => device.runWithin(INPUT_LOCK_TIMEOUT_MS, () => inner.enqueueInput(bytes)),
    };
  }

  /** What has things to do at times, unless they are another process's. */
  #insertCmos(state: Int32Array, options: BoardOptions): LockedDevice | undefined {
    const { clock, irqChip, lowMemoryBytes, highMemoryBytes, remoteCmos } = options;
    const range = { start: PORT.RTC, sizeBytes: 2 };
    if (remoteCmos !== undefined) {
      this.ports.insert(new LockedDevice(remoteCmos, new SharedMutex(state)), range, 'relative');
      return undefined;
    }
    const interrupt = irqChip.line(IRQ.RTC);
    const { device } = locked(state, (words) => new Cmos(words, { clock, interrupt, lowMemoryBytes, highMemoryBytes }));
    this.ports.insert(device, range, 'relative');
    return device;
  }

  /** The device has no state: the lock is for one in another process. */
  #insertI8042(state: Int32Array, { events, remoteI8042 }: BoardOptions): void {
    const i8042 =
      remoteI8042 === undefined
        ? new I8042(() => events.onReset())
        : new LockedDevice(remoteI8042, new SharedMutex(state));
    this.ports.insert(i8042, { start: PORT.I8042, sizeBytes: 1 }, 'absolute');
    this.ports.insert(i8042, { start: PORT.I8042 + 2, sizeBytes: 3 }, 'absolute');
  }

  /** Port 0xcf9 in the midst of the configuration ports is the reset control's. */
  #insertPci(configIoState: Int32Array, rootState: Int32Array, options: BoardOptions): PciRoot {
    const { highMmio, pciFunctions = [], ioeventWatcher } = options;
    const unclaimed = this.#unclaimed;
    const root = new PciRoot(rootState, {
      ioeventWatcher,
      unclaimed:
        unclaimed &&
        ((access, space, address, data) =>
          unclaimed(
            `${access} ${access === 'read' ? 'of' : 'to'} ${space === 'io' ? 'port' : 'address'}`,
            address,
            data,
          )),
    });
    for (const pciFunction of pciFunctions) root.addDevice(pciFunction);
    const configIo = new PciConfigIo(configIoState, root);
    const afterReset = PORT.RESET_CONTROL + 1;
    this.ports.insert(configIo, { start: PORT.PCI_CONFIG, sizeBytes: 1 }, 'absolute');
    const sizeBytes = PORT.PCI_CONFIG + PCI_CONFIG_SIZE - afterReset;
    this.ports.insert(configIo, { start: afterReset, sizeBytes }, 'absolute');
    this.ports.insert(root.ioPorts, { start: PORT.PCI_IO, sizeBytes: PORT_COUNT - PORT.PCI_IO }, 'absolute');
    this.mmio.insert(new PciConfigMmio(root), PCI_ECAM, 'relative');
    this.mmio.insert(root.memory, PCI_LOW_MMIO, 'absolute');
    if (highMmio.sizeBytes > 0) this.mmio.insert(root.memory, highMmio, 'absolute');
    return root;
  }

  #insertStateless({ debugOutput, debugExit, events }: BoardOptions): void {
    const postCode = new PortSink('post-code');
    this.ports.insert(postCode, { start: PORT.POST_CODE, sizeBytes: 1 }, 'relative');
    this.ports.insert(postCode, { start: PORT.IO_DELAY, sizeBytes: 1 }, 'relative');
    if (debugOutput !== undefined) {
      this.ports.insert(new DebugConsole(debugOutput), { start: PORT.DEBUG_CONSOLE, sizeBytes: 1 }, 'relative');
    }
    if (debugExit === true) {
      const exit = new DebugExit((value) => events.onDebugExit?.(value));
      this.ports.insert(exit, { start: PORT.DEBUG_EXIT, sizeBytes: DEBUG_EXIT_SIZE }, 'relative');
    }
  }
}

/** A device over all words but the first, which is its lock. */
function locked<Device extends BusDevice>(
  state: Int32Array,
  create: (words: Int32Array) => Device,
): { readonly inner: Device; readonly device: LockedDevice } {
  const mutex = new SharedMutex(state);
  const inner = mutex.run(() => create(state.subarray(SharedMutex.STATE_WORDS)));
  return { inner, device: new LockedDevice(inner, mutex) };
}

/** The process of a virtio device: made outside of the jail, then a loop inside it. */

import { IrqfdLine } from '#devices/irqfd-line.ts';
import type { MsixInterrupts } from '#devices/pci/msix.ts';
import { BAR_KINDS, type PlacedBar } from '#devices/pci/pci-bar.ts';
import type { PciBusDevice } from '#devices/pci/pci-device.ts';
import { BAR_COUNT, INTERRUPT_PIN } from '#devices/pci/registers.ts';
import { serveDevice } from '#devices/proxy/serve-device.ts';
import type { VirtioDevice } from '#devices/virtio/device.ts';
import { VirtioPciDevice, virtioVectorCount } from '#devices/virtio/virtio-pci-device.ts';
import { WorkerLoop } from '#devices/virtio/worker-loop.ts';
import type { DeviceMaker, DeviceResources } from '#jail/warden-process.ts';
import { GuestMemory, type GuestRegion } from '#memory/guest-memory.ts';
import { decodeBytes } from '#msg-socket/bytes.ts';
import { arrayUpTo, optional, struct } from '#msg-socket/composites.ts';
import type { MessageType, ValueOf } from '#msg-socket/message-type.ts';
import type { Client, ProtocolServer } from '#msg-socket/protocol.ts';
import { bool, bytesUpTo, oneOf, u8, u16, u32, u64AsNumber } from '#msg-socket/scalars.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { assert } from '#util/assert.ts';
import { KiB } from '#util/bits.ts';
import { hostClock } from '#util/clock.ts';
import { CodedError } from '#util/errors.ts';
import { LOG_LEVELS, type Log, Logger } from '#util/log.ts';
import { deviceLogSink } from '#vm-control/device-log.ts';
import { VmIoevent } from '#vm-control/vm-ioevent.ts';
import { VmIrq } from '#vm-control/vm-irq.ts';
import { VmMemory } from '#vm-control/vm-memory.ts';

/** Of guest memory; a PC has two at most. */
const REGIONS_MAX = 16;
/** Of the kind's own. */
const OWN_PARAMETERS_BYTES_MAX = 4 * KiB;

const regions: MessageType<readonly GuestRegion[]> = arrayUpTo(
  struct({ guestAddress: u64AsNumber, sizeBytes: u64AsNumber, memfdOffset: u64AsNumber }),
  REGIONS_MAX,
);

const bars: MessageType<readonly PlacedBar[]> = arrayUpTo(
  struct({
    index: u8,
    kind: oneOf(BAR_KINDS),
    sizeBytes: u64AsNumber,
    prefetchable: optional(bool),
    address: u64AsNumber,
  }),
  BAR_COUNT,
);

/** What main says of a device besides its descriptors. */
export const VirtioParameters = struct({
  regions,
  queueCount: u16,
  bars,
  /** INTx: its pin, and the GSI that this arrives at. */
  intx: struct({ pin: oneOf(Object.values(INTERRUPT_PIN)), gsi: u32 }),
  /** Which sockets of DeviceGrants it has. */
  granted: struct({ memory: bool, ioevents: bool }),
  logLevel: oneOf(LOG_LEVELS),
  /** The kind's own, of the type that it declares. */
  device: bytesUpTo(OWN_PARAMETERS_BYTES_MAX),
});
export type VirtioParameters = ValueOf<typeof VirtioParameters>;

/** What a kind of device is made of in its process. */
export interface OwnResources<Own> {
  readonly name: string;
  readonly parameters: Own;
  /** The descriptors of the kind's own, which it takes over. */
  readonly fds: readonly Fd[];
  readonly log: Log;
  /** Where the kind's plan grants it. */
  readonly vmMemory?: Client<typeof VmMemory>;
  readonly vmIoevent?: Client<typeof VmIoevent>;
}

/**
 * The descriptors of a request begin with these: the sockets of VmIrq and of DeviceLog, the eventfds that assert INTx and that tell of
 * the end of its service. A queue's events follow, the sockets of what is granted, then the kind's own.
 */
export const VIRTIO_FDS_BEFORE_QUEUES = 4;

/** Main has this long to answer. */
const MAIN_TIMEOUTS = { sendMs: 5000, receiveMs: 5000 } as const;
/** MSI addresses are below 4 GiB; what a guest writes above is no interrupt's either way. */
const ADDRESS_MAX = Number.MAX_SAFE_INTEGER;

/** A device and what else its process answers: a request of main never waits for the guest. */
export interface MadeDevice {
  readonly device: VirtioDevice;
  readonly control?: ProtocolServer;
}

/** The maker of a kind of virtio device, for the warden, with the type of its own parameters. */
export function virtioMaker<Own>(type: MessageType<Own>, create: (own: OwnResources<Own>) => MadeDevice): DeviceMaker {
  return (resources) => {
    const { name, socket, fds, guestMemory, guestMemoryRoom } = resources;
    const parameters = decodeBytes(VirtioParameters, resources.parameters);
    const { queueCount, intx, logLevel } = parameters;
    const own = decodeBytes(type, parameters.device);
    assert(guestMemory !== undefined, 'a virtio device uses guest memory');
    const memory = GuestMemory.borrowing(guestMemory, parameters.regions, guestMemoryRoom);
    const { irq, logSocket, irqfd, resample, queueEvents, granted, ownFds } = sortFds(fds, parameters);
    const log = new Logger(name, { level: logLevel, sink: deviceLogSink(logSocket), clock: hostClock });
    const { device, control } = create({ name, parameters: own, fds: ownFds, log, ...granted });
    const workers = new WorkerLoop();
    const line = new IrqfdLine(irqfd);
    const pci = new VirtioPciDevice({
      device,
      memory,
      queueEvents,
      bars: parameters.bars,
      interrupts: new IrqfdInterrupts(irq, virtioVectorCount(queueCount)),
      intx: { ...intx, line },
      workers,
      log,
    });
    const onEnd = (): void => {
      line.letGo();
      pci.resample();
    };
    const loop = new DeviceLoop({
      socket: new Fd(socket),
      device: pci,
      workers,
      resample: { event: resample, onEnd },
      control,
    });
    return () => {
      using _memory = memory;
      return loop.run();
    };
  };
}

function sortFds(fds: DeviceResources['fds'], { queueCount, granted: { memory, ioevents } }: VirtioParameters) {
  const owned = fds.map((fd) => new Fd(fd));
  const [irq, logSocket, irqfd, resample] = owned;
  const queuesEnd = VIRTIO_FDS_BEFORE_QUEUES + queueCount;
  const ownStart = queuesEnd + Number(memory) + Number(ioevents);
  assert(
    irq !== undefined && logSocket !== undefined && irqfd !== undefined && resample !== undefined,
    'sockets and events of a virtio device',
  );
  assert(owned.length >= ownStart, 'an event for each queue');
  const queueEvents = owned.slice(VIRTIO_FDS_BEFORE_QUEUES, queuesEnd).map((fd) => EventFd.fromFd(fd));
  const sockets = owned.slice(queuesEnd, ownStart);
  const granted = {
    ...(memory && { vmMemory: VmMemory.client(sockets[0] as Fd, MAIN_TIMEOUTS) }),
    ...(ioevents && { vmIoevent: VmIoevent.client(sockets.at(-1) as Fd, MAIN_TIMEOUTS) }),
  };
  const intx = { irqfd: EventFd.fromFd(irqfd), resample: EventFd.fromFd(resample) };
  return { irq, logSocket, ...intx, queueEvents, granted, ownFds: owned.slice(ownStart) };
}

interface Vector {
  readonly event: EventFd;
  /** Main's end; it goes there with the first use. */
  readonly irqfd: Fd;
  gsi: number;
}

/** Vectors as eventfds that main watches. They are made before the jail, where none can be made. */
class IrqfdInterrupts implements MsixInterrupts {
  readonly #irq: Client<typeof VmIrq>;
  readonly #vectors: readonly Vector[];

  constructor(irq: Fd, vectorCount: number) {
    this.#irq = VmIrq.client(irq, MAIN_TIMEOUTS);
    this.#vectors = Array.from({ length: vectorCount }, () => {
      const event = EventFd.create();
      return { event, irqfd: new Fd(dup(event.fd)), gsi: -1 };
    });
  }

  allocateVector(vector: number): boolean {
    const entry = this.#vectors[vector] as Vector;
    try {
      entry.gsi = this.#irq.allocateOneMsi({ irqfd: entry.irqfd }).gsi;
      return true;
    } catch (error) {
      // Refused: the guest has no interrupt by this vector.
      if (error instanceof CodedError) return false;
      throw error;
    }
  }

  route(vector: number, address: number, data: number): void {
    const { gsi } = this.#vectors[vector] as Vector;
    this.#irq.addMsiRoute({ gsi, address: Math.min(address, ADDRESS_MAX), data });
  }

  trigger(vector: number): void {
    this.#vectors[vector]?.event.write();
  }
}

export interface DeviceLoopParts {
  readonly socket: Fd;
  readonly device: PciBusDevice & { close(): void };
  readonly workers: WorkerLoop;
  /** Signalled when the guest has ended the service of the device's INTx. */
  readonly resample: { readonly event: EventFd; readonly onEnd: () => void };
  readonly control?: ProtocolServer | undefined;
}

/**
 * Requests of the bus or of the VMM that are answered between two turns of the workers: with one at a time, a guest that keeps the
 * workers busy would have each of its posted writes wait for a turn, and the read behind them for all of those.
 */
export const REQUESTS_PER_TURN = 16;

type LoopToken = 'bus' | 'work' | 'control' | 'resample';

/** Answers the bus and the VMM and turns the workers until main closes its end or says that the machine ends. */
export class DeviceLoop {
  readonly #poll = new PollContext<LoopToken>(namedTokens('bus', 'work', 'control', 'resample'));
  readonly #workers: WorkerLoop;
  readonly #server: ProtocolServer;
  readonly #control: ProtocolServer | undefined;
  readonly #resample: DeviceLoopParts['resample'];
  readonly #device: DeviceLoopParts['device'];
  #isEnding = false;
  #isWorking = true;

  constructor({ socket, device, workers, resample, control }: DeviceLoopParts) {
    this.#device = device;
    this.#workers = workers;
    this.#control = control;
    this.#resample = resample;
    this.#server = serveDevice(socket, device, {
      onSuspend: () => this.#setWorking(false),
      onResume: () => this.#setWorking(true),
      onShutdown: () => {
        this.#isEnding = true;
        device.close();
      },
    });
    this.#poll.add(this.#server, 'bus');
    this.#poll.add(workers, 'work');
    this.#poll.add(resample.event, 'resample');
    if (control !== undefined) this.#poll.add(control, 'control');
  }

  /** The exit status. */
  run(): number {
    while (!this.#isEnding) this.turn();
    this.#device.close();
    return 0;
  }

  /** Does what waits. Waits for it at most `timeoutMs`, without end when absent. */
  turn(timeoutMs?: number): void {
    for (const { token } of this.#poll.wait(timeoutMs)) {
      // A suspension takes effect within the events of one wait.
      if (token === 'work') this.#turnWorkers();
      else if (token === 'resample') this.#endOfService();
      else this.#serve(token === 'bus' ? this.#server : this.#control);
    }
  }

  #serve(server: ProtocolServer | undefined): void {
    for (let left = REQUESTS_PER_TURN; left > 0 && !this.#isEnding; left--) {
      const served = server?.tryServeOne();
      if (served === false) this.#isEnding = true;
      if (served !== true) return;
    }
  }

  /** Whatever comes of it, the guest's memory is not touched: also while the machine is suspended. */
  #endOfService(): void {
    const { event, onEnd } = this.#resample;
    event.clear();
    onEnd();
  }

  #turnWorkers(): void {
    if (this.#isWorking) this.#workers.turn(0);
  }

  #setWorking(isWorking: boolean): void {
    if (isWorking === this.#isWorking) return;
    this.#isWorking = isWorking;
    if (isWorking) this.#poll.add(this.#workers, 'work');
    else this.#poll.remove(this.#workers);
  }
}

import { assert } from '#util/assert.ts';
import type { Clock } from '#util/clock.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import { LockedDevice } from '#util/locked-device.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import { carver } from '#util/state-words.ts';
import type { InterruptLine, IrqChip, IrqChipDevice, IrqChipPart } from '../irq-chip.ts';
import { type ApicMessageSink, COMMAND, DELIVERY, MSI_ADDRESS, MSI_DATA_COMMAND } from './apic-message.ts';
import { IOAPIC_PIN_COUNT, IoApic } from './ioapic.ts';
import { LocalApic, type LocalApicBus } from './local-apic.ts';
import type { LocalApicInbox } from './local-apic-inbox.ts';
import { SHORTHAND } from './local-apic-registers.ts';
import { PicPair } from './pic.ts';
import { Pit } from './pit.ts';

const ISA_IRQ_COUNT = 16;
const TIMER_IRQ = 0;
/** The PICs' input 2 is their own cascade. */
const CASCADE_IRQ = 2;
/** Devices that can share an interrupt: one bit each in a word. */
const SOURCE_COUNT = 32;
/** All that `assertUntilEnd` asserts, as KVM has one source for its irqfds with resample. */
const UNTIL_END_SOURCE = SOURCE_COUNT - 1;

/** Words before those of the chips. */
const STATE = {
  MUTEX: 0,
  /** The level of the PICs' output. */
  INTR: 1,
  /** The processor that took the last lowest-priority interrupt. */
  LAST_LOWEST: 2,
  /** How often devices in other processes have said that they wrote guest memory. */
  DEVICE_WRITES: 3,
  /** One word an interrupt: a bit for each source that asserts it. */
  LEVELS: 4,
  CHIPS: 4 + IOAPIC_PIN_COUNT,
} as const;

export interface SoftwareIrqChipOptions {
  /** The processors have the APIC ids 0 to vcpuCount - 1; the first is the boot processor. */
  readonly vcpuCount: number;
  readonly clock: Clock;
  /** The time of the clock at which the processor's time-stamp counter reaches `ticks`. */
  readonly tscToNs: (vcpuIndex: number, ticks: number) => number;
  /** Called on the posting thread when something becomes pending for a processor; must not call into this chip. */
  readonly onPending?: (vcpuIndex: number) => void;
  /**
   * Called on the thread that ends the service of an interrupt which `assertUntilEnd` had asserted: the line has been let go.
   * Must not call into this chip.
   */
  readonly onEnd?: (gsi: number) => void;
  /** I/O APIC pin of the timer's interrupt 0, as the MADT says; by default 0. */
  readonly timerPin?: number;
}

/**
 * The interrupt controllers of a PC for processors in software: the PIC pair, one I/O APIC with 24 pins, a local APIC for each
 * processor, and the PIT on interrupt 0. Every thread makes its own object over the same state. Lines, ports and the I/O APIC
 * may be used from any thread (a lock serialises them); a local APIC only from its processor's, but for its inbox.
 */
export class SoftwareIrqChip implements IrqChip, ApicMessageSink, LocalApicBus, DeadlineSource {
  /** Words of state that a chip for so many processors needs. */
  static stateWords(vcpuCount: number): number {
    const chips = PicPair.STATE_WORDS + IoApic.STATE_WORDS + Pit.STATE_WORDS;
    return STATE.CHIPS + chips + vcpuCount * LocalApic.STATE_WORDS;
  }

  /** By index of the processor. */
  readonly localApics: readonly LocalApic[];
  /** On the buses: ports 0x20..0x21, 0xa0..0xa1, 0x4d0..0x4d1, 0x40..0x43, 0x61, and the page of the I/O APIC. */
  readonly parts: ReadonlyMap<IrqChipPart, IrqChipDevice>;

  readonly #state: Int32Array;
  readonly #mutex: SharedMutex;
  readonly #pic: PicPair;
  readonly #ioApicChip: IoApic;
  readonly #pit: Pit;
  readonly #timerPin: number;
  readonly #onEnd: ((gsi: number) => void) | undefined;

  /** `state` holds stateWords(vcpuCount) words, zeroed when the chip is new; the first thread's constructor initialises it. */
  constructor(state: Int32Array, options: SoftwareIrqChipOptions) {
    assert(state.length >= SoftwareIrqChip.stateWords(options.vcpuCount), 'state is too small');
    this.#state = state;
    this.#mutex = new SharedMutex(state, STATE.MUTEX);
    this.#timerPin = options.timerPin ?? TIMER_IRQ;
    this.#onEnd = options.onEnd;
    const carve = carver(state, STATE.CHIPS);
    const picState = carve(PicPair.STATE_WORDS);
    const ioApicState = carve(IoApic.STATE_WORDS);
    const pitState = carve(Pit.STATE_WORDS);
    this.localApics = Array.from({ length: options.vcpuCount }, (_, index) =>
      this.#newLocalApic(carve(LocalApic.STATE_WORDS), index, options),
    );
    const onEnd = (gsi: number): void => this.#letGo(gsi);
    this.#pic = new PicPair(picState, { set: (asserted) => this.#setIntr(asserted) }, onEnd);
    this.#ioApicChip = new IoApic(ioApicState, this, onEnd);
    this.#pit = new Pit(pitState, options.clock, { set: (asserted) => this.#drive(TIMER_IRQ, 0, asserted) });
    const parts: readonly (readonly [IrqChipPart, IrqChipDevice])[] = [
      ['pic-master', this.#pic.master],
      ['pic-slave', this.#pic.slave],
      ['pic-edge-level-control', this.#pic.edgeLevelControl],
      ['pit', this.#pit.counters],
      ['system-control', this.#pit.systemControl],
      ['io-apic', this.#ioApicChip],
    ];
    this.parts = new Map(parts.map(([part, chip]) => [part, new LockedDevice(chip, this.#mutex)]));
  }

  /** Resets every chip, while no processor runs. Lines that devices assert stay asserted. */
  reset(): void {
    this.#mutex.run(() => {
      for (const localApic of this.localApics) localApic.reset();
      this.#pic.reset();
      this.#ioApicChip.reset();
      this.#pit.reset();
      for (let irq = TIMER_IRQ + 1; irq < ISA_IRQ_COUNT; irq++) {
        if (irq !== CASCADE_IRQ) this.#pic.setLine(irq, this.#state[STATE.LEVELS + irq] !== 0);
      }
    });
  }

  /**
   * The input for global system interrupt `gsi`, 0 to 23: that pin of the I/O APIC, and below 16 the PICs' input as well.
   * Devices that share an interrupt give each a `source` of their own, 0 to 30: the line is asserted while any of them asserts.
   */
  line(gsi: number, source = 0): InterruptLine {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < IOAPIC_PIN_COUNT, 'no such global system interrupt');
    assert(Number.isInteger(source) && source >= 0 && source < UNTIL_END_SOURCE, 'no such interrupt source');
    return {
      set: (asserted) => {
        // A source's own bit changes by nobody else, so that an unchanged level needs no lock.
        if (((this.#state[STATE.LEVELS + gsi]! & (1 << source)) !== 0) === asserted) return;
        // Written out, not by `run`: a closure for each change of a line is 7 ns (measured).
        this.#mutex.lock();
        try {
          this.#drive(gsi, source, asserted);
        } finally {
          this.#mutex.unlock();
        }
      },
    };
  }

  /**
   * Asserts a level-triggered interrupt, none of timer and cascade, until the guest ends its service; then `onEnd` tells. Other
   * sources of the line are not touched.
   */
  assertUntilEnd(gsi: number): void {
    assert(Number.isInteger(gsi) && gsi > CASCADE_IRQ && gsi < IOAPIC_PIN_COUNT, 'a line of devices');
    this.#mutex.lock();
    try {
      this.#drive(gsi, UNTIL_END_SOURCE, true);
    } finally {
      this.#mutex.unlock();
    }
  }

  /** Raises a line that is edge-triggered and lets it go, for a device in another process; none of timer and cascade. */
  pulse(gsi: number): void {
    assert(Number.isInteger(gsi) && gsi > 0 && gsi !== CASCADE_IRQ && gsi < IOAPIC_PIN_COUNT, 'a line of devices');
    this.#mutex.lock();
    try {
      this.#drive(gsi, UNTIL_END_SOURCE, true);
      this.#drive(gsi, UNTIL_END_SOURCE, false);
    } finally {
      this.#mutex.unlock();
    }
  }

  /** A message-signalled interrupt. Writes outside 0xfeexxxxx are no interrupts and are ignored, also those above 4 GiB. */
  send(address: number, data: number): void {
    if (address > 0xffff_ffff || (address & MSI_ADDRESS.PREFIX_MASK) >>> 0 !== MSI_ADDRESS.PREFIX) return;
    const destination = (address >>> MSI_ADDRESS.DESTINATION_SHIFT) & MSI_ADDRESS.DESTINATION;
    const logical = (address & MSI_ADDRESS.LOGICAL) !== 0 ? COMMAND.LOGICAL : 0;
    this.deliver(destination, (data & MSI_DATA_COMMAND) | logical);
  }

  /** A device in another process has written guest memory, of which it tells by the interrupt that comes next. */
  noteDeviceWrites(): void {
    Atomics.add(this.#state, STATE.DEVICE_WRITES, 1);
  }

  /** Another value after `noteDeviceWrites`. */
  get deviceWrites(): number {
    return Atomics.load(this.#state, STATE.DEVICE_WRITES);
  }

  /** A message with an 8-bit destination, from an I/O APIC or by MSI. */
  deliver(destination: number, command: number): boolean {
    return this.#deliver(destination, command, false);
  }

  sendIpi(sender: LocalApic, destination: number, command: number): void {
    switch (command & SHORTHAND.MASK) {
      case SHORTHAND.NONE:
        this.#deliver(destination, command & ~COMMAND.LEVEL, sender.inbox.isX2apic());
        break;
      case SHORTHAND.SELF:
        // Only fixed interrupts may be sent to oneself (SDM vol. 3 §11.6.1, table 11-3).
        if ((command & COMMAND.DELIVERY_MODE) === DELIVERY.FIXED) sender.inbox.post(command & COMMAND.VECTOR, false);
        break;
      default: {
        const includesSender = (command & SHORTHAND.MASK) === SHORTHAND.ALL;
        for (const localApic of this.localApics) {
          if (localApic !== sender || includesSender) dispatch(localApic.inbox, command & ~COMMAND.LEVEL);
        }
      }
    }
  }

  endOfInterrupt(vector: number): void {
    this.#mutex.lock();
    try {
      this.#ioApicChip.endOfInterrupt(vector);
    } finally {
      this.#mutex.unlock();
    }
  }

  retryInterrupts(): void {
    this.#mutex.run(() => this.#ioApicChip.retry());
  }

  acknowledgePic(): number {
    return this.#mutex.run(() => this.#pic.acknowledge());
  }

  /** The PIT's next interrupt. The local APICs have deadlines of their own. */
  nextDeadlineNs(): number {
    return this.#mutex.run(() => this.#pit.nextDeadlineNs());
  }

  advance(nowNs: number): void {
    this.#mutex.run(() => this.#pit.advance(nowNs));
  }

  #newLocalApic(state: Int32Array, index: number, options: SoftwareIrqChipOptions): LocalApic {
    const { onPending, tscToNs } = options;
    return new LocalApic(state, {
      id: index,
      bootProcessor: index === 0,
      clock: options.clock,
      bus: this,
      tscToNs: (ticks) => tscToNs(index, ticks),
      ...(onPending === undefined ? {} : { onPending: () => onPending(index) }),
    });
  }

  /** Sets one source's level; the chips see the levels of all sources together. To be called with the lock held. */
  #drive(gsi: number, source: number, asserted: boolean): void {
    const before = this.#state[STATE.LEVELS + gsi]!;
    const levels = asserted ? before | (1 << source) : before & ~(1 << source);
    this.#state[STATE.LEVELS + gsi] = levels;
    if ((before !== 0) === (levels !== 0)) return;
    if (gsi < ISA_IRQ_COUNT && gsi !== CASCADE_IRQ) this.#pic.setLine(gsi, levels !== 0);
    this.#ioApicChip.setLine(gsi === TIMER_IRQ ? this.#timerPin : gsi, levels !== 0);
  }

  /** The service of an interrupt has ended. To be called with the lock held. */
  #letGo(gsi: number): void {
    if ((this.#state[STATE.LEVELS + gsi]! & (1 << UNTIL_END_SOURCE)) === 0) return;
    this.#drive(gsi, UNTIL_END_SOURCE, false);
    this.#onEnd?.(gsi);
  }

  /** The PICs' output goes to LINT0 of every processor. */
  #setIntr(asserted: boolean): void {
    const level = asserted ? 1 : 0;
    if (this.#state[STATE.INTR] === level) return;
    this.#state[STATE.INTR] = level;
    for (const localApic of this.localApics) localApic.inbox.setLint(0, asserted);
  }

  /** True when a local APIC has accepted the message. */
  #deliver(destination: number, command: number, wide: boolean): boolean {
    const logical = (command & COMMAND.LOGICAL) !== 0;
    if ((command & COMMAND.DELIVERY_MODE) === DELIVERY.LOWEST_PRIORITY) {
      return this.#deliverToLowest(destination, command, wide);
    }
    let accepted = false;
    for (const { inbox } of this.localApics) {
      if (inbox.accepts(destination, logical, wide) && dispatch(inbox, command)) accepted = true;
    }
    return accepted;
  }

  /** To the processor with the lowest task priority; among equals, the one after the last that was chosen. */
  #deliverToLowest(destination: number, command: number, wide: boolean): boolean {
    const logical = (command & COMMAND.LOGICAL) !== 0;
    const count = this.localApics.length;
    const first = Atomics.load(this.#state, STATE.LAST_LOWEST) + 1;
    let chosen = -1;
    let lowest = Infinity;
    for (let i = 0; i < count; i++) {
      const index = (first + i) % count;
      const inbox = this.localApics[index]!.inbox;
      if (!inbox.isSoftwareEnabled() || !inbox.accepts(destination, logical, wide)) continue;
      if (inbox.taskPriority() >= lowest) continue;
      lowest = inbox.taskPriority();
      chosen = index;
    }
    if (chosen < 0) return false;
    Atomics.store(this.#state, STATE.LAST_LOWEST, chosen);
    return dispatch(this.localApics[chosen]!.inbox, command);
  }
}

/** True when the local APIC has accepted the message. */
function dispatch(inbox: LocalApicInbox, command: number): boolean {
  switch (command & COMMAND.DELIVERY_MODE) {
    case DELIVERY.FIXED:
    case DELIVERY.LOWEST_PRIORITY:
      return inbox.post(command & COMMAND.VECTOR, (command & COMMAND.LEVEL) !== 0);
    case DELIVERY.NMI:
      inbox.postNmi();
      return true;
    case DELIVERY.INIT:
      inbox.postInit();
      return true;
    case DELIVERY.STARTUP:
      inbox.postStartup(command & COMMAND.VECTOR);
      return true;
    case DELIVERY.EXT_INT:
      inbox.postExtInt();
      return true;
    default:
      // System management interrupts have nobody to handle them.
      return false;
  }
}

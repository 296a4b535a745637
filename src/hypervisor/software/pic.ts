import type { InterruptLine } from '../irq-chip.ts';
import { type BytePort, bytePorts } from './byte-ports.ts';

/**
 * The pair of 8259A interrupt controllers of a PC; Intel 8259A data sheet (231468, 1988), whose names are used here. The
 * slave's output is the master's input 2. The edge/level control registers are those of the Intel 82371AB (PIIX4) §4.3.3.
 */

const INPUT_COUNT = 8;
const CASCADE_INPUT = 2;
const MASTER = 0;
const SLAVE = 1;
/** IR7 is given when the request went away before its acknowledgement. */
const SPURIOUS_INPUT = 7;
const NO_PRIORITY = 8;

/** Initialisation command word 1, and its bits that the PC uses. */
const ICW1 = { NEEDS_ICW4: 0x01, SINGLE: 0x02, LEVEL: 0x08, SELECT: 0x10 } as const;
const ICW4 = { AUTO_EOI: 0x02, SPECIAL_FULLY_NESTED: 0x10 } as const;

/** Operation command word 2: command in bits 7..5, level in 2..0. */
const OCW2_COMMAND = {
  CLEAR_ROTATE_ON_AUTO_EOI: 0,
  NON_SPECIFIC_EOI: 1,
  NO_OPERATION: 2,
  SPECIFIC_EOI: 3,
  SET_ROTATE_ON_AUTO_EOI: 4,
  ROTATE_ON_NON_SPECIFIC_EOI: 5,
  SET_PRIORITY: 6,
  ROTATE_ON_SPECIFIC_EOI: 7,
} as const;

/** Operation command word 3. */
const OCW3 = {
  SELECT: 0x08,
  READ_REGISTER: 0x02,
  READ_ISR: 0x01,
  POLL: 0x04,
  SPECIAL_MASK_ENABLE: 0x40,
  SPECIAL_MASK: 0x20,
} as const;
const POLL_PENDING = 0x80;

/** Where the initialisation sequence stands: the ICW that port 1 takes next. */
const EXPECT = { NOTHING: 0, ICW2: 2, ICW3: 3, ICW4: 4 } as const;

/** Inputs that stay edge-triggered: timer, keyboard and cascade; RTC and coprocessor. */
const ELCR_WRITABLE = [0xf8, 0xde] as const;

/** Words of one controller's state. */
const CHIP = {
  /** Latched requests; of level inputs, the level itself is looked at. */
  IRR: 0,
  IMR: 1,
  ISR: 2,
  LEVELS: 3,
  ELCR: 4,
  VECTOR_BASE: 5,
  /** The input with the lowest priority. */
  LOWEST: 6,
  EXPECT: 7,
  NEEDS_ICW4: 8,
  SINGLE: 9,
  ALL_LEVEL: 10,
  AUTO_EOI: 11,
  ROTATE_ON_AUTO_EOI: 12,
  SPECIAL_MASK: 13,
  SPECIAL_FULLY_NESTED: 14,
  READ_ISR: 15,
  POLL: 16,
  WORDS: 17,
} as const;

const STATE = { INITIALISED: 0, CHIPS: 1, WORDS: 1 + 2 * CHIP.WORDS } as const;

/**
 * Both controllers. `output` is the master's INT, which the processor answers with `acknowledge`. Not locked: the caller
 * serialises accesses.
 */
export class PicPair {
  static readonly STATE_WORDS = STATE.WORDS;

  /** Ports 0x20 and 0x21. */
  readonly master = bytePorts('pic-master', this.#controllerPort(MASTER));
  /** Ports 0xa0 and 0xa1. */
  readonly slave = bytePorts('pic-slave', this.#controllerPort(SLAVE));
  /** Ports 0x4d0 and 0x4d1: bit n makes input n level-triggered. */
  readonly edgeLevelControl = bytePorts('pic-elcr', {
    read: (chip) => (chip > SLAVE ? 0xff : this.#get(chip, CHIP.ELCR)),
    write: (chip, value) => this.#writeEdgeLevel(chip, value),
  });

  readonly #state: Int32Array;
  readonly #output: InterruptLine;
  readonly #onEnd: ((irq: number) => void) | undefined;

  /** `onEnd` is told of the end of service of an input, 0 to 15; it may drive that line. */
  constructor(state: Int32Array, output: InterruptLine, onEnd?: (irq: number) => void) {
    this.#state = state;
    this.#output = output;
    this.#onEnd = onEnd;
    if (state[STATE.INITIALISED] === 0) this.reset();
  }

  /** The state before any ICW1. The data sheet leaves it open; all inputs are masked, so that nothing comes before a driver. */
  reset(): void {
    const state = this.#state;
    state.fill(0, 0, STATE.WORDS);
    state[STATE.INITIALISED] = 1;
    for (let chip = MASTER; chip <= SLAVE; chip++) {
      this.#set(chip, CHIP.IMR, 0xff);
      this.#set(chip, CHIP.LOWEST, INPUT_COUNT - 1);
    }
    this.#update();
  }

  /** Drives input `irq`, 0 to 15. Input 2 belongs to the cascade and is not to be driven. */
  setLine(irq: number, asserted: boolean): void {
    const chip = irq >>> 3;
    this.#setInput(chip, irq & 7, asserted);
    this.#update();
  }

  /** INTA: the vector of the request with the highest priority, which goes into service. Without one, the spurious vector. */
  acknowledge(): number {
    const input = this.#serviceHighest(MASTER);
    let vector = this.#get(MASTER, CHIP.VECTOR_BASE) + (input < 0 ? SPURIOUS_INPUT : input);
    if (input === CASCADE_INPUT) {
      const slaveInput = this.#serviceHighest(SLAVE);
      vector = this.#get(SLAVE, CHIP.VECTOR_BASE) + (slaveInput < 0 ? SPURIOUS_INPUT : slaveInput);
    }
    this.#update();
    return vector;
  }

  /** The level of the master's INT output. */
  isAsserted(): boolean {
    return this.#highestPending(MASTER) >= 0;
  }

  #get(chip: number, word: number): number {
    return this.#state[STATE.CHIPS + chip * CHIP.WORDS + word]!;
  }

  #set(chip: number, word: number, value: number): void {
    this.#state[STATE.CHIPS + chip * CHIP.WORDS + word] = value;
  }

  #levelTriggered(chip: number): number {
    return this.#get(chip, CHIP.ALL_LEVEL) !== 0 ? 0xff : this.#get(chip, CHIP.ELCR);
  }

  #setInput(chip: number, input: number, asserted: boolean): void {
    const bit = 1 << input;
    const before = this.#get(chip, CHIP.LEVELS);
    this.#set(chip, CHIP.LEVELS, asserted ? before | bit : before & ~bit);
    // An edge stays latched when the line falls again: a source that only pulses is served too. (The data sheet would have
    // it give the spurious IR7.)
    const rose = asserted && (before & bit) === 0;
    if (rose) this.#set(chip, CHIP.IRR, this.#get(chip, CHIP.IRR) | bit);
  }

  /** Requests: latched edges, and the level inputs that are high now. */
  #requests(chip: number): number {
    const level = this.#levelTriggered(chip);
    return (this.#get(chip, CHIP.IRR) & ~level) | (this.#get(chip, CHIP.LEVELS) & level);
  }

  /** 0 for the highest priority in `inputs`, 8 for none. */
  #priority(chip: number, inputs: number): number {
    const first = this.#get(chip, CHIP.LOWEST) + 1;
    for (let priority = 0; priority < INPUT_COUNT; priority++) {
      if ((inputs & (1 << ((first + priority) & 7))) !== 0) return priority;
    }
    return NO_PRIORITY;
  }

  /** The input that asks for service and may have it, or -1. */
  #highestPending(chip: number): number {
    const mask = this.#get(chip, CHIP.IMR);
    const wanted = this.#priority(chip, this.#requests(chip) & ~mask);
    if (wanted === NO_PRIORITY) return -1;
    let inService = this.#get(chip, CHIP.ISR);
    // Special mask mode: a masked input in service does not hold back lower ones.
    if (this.#get(chip, CHIP.SPECIAL_MASK) !== 0) inService &= ~mask;
    const input = (this.#get(chip, CHIP.LOWEST) + 1 + wanted) & 7;
    const serviced = this.#priority(chip, inService);
    if (wanted < serviced) return input;
    return wanted === serviced && this.#mayInterruptItself(chip, input) ? input : -1;
  }

  /** Special fully nested mode: a higher input of the slave interrupts the service of a lower one; others wait as ever. */
  #mayInterruptItself(chip: number, input: number): boolean {
    return chip === MASTER && input === CASCADE_INPUT && this.#get(chip, CHIP.SPECIAL_FULLY_NESTED) !== 0;
  }

  #serviceHighest(chip: number): number {
    const input = this.#highestPending(chip);
    if (input < 0) return -1;
    const bit = 1 << input;
    this.#set(chip, CHIP.IRR, this.#get(chip, CHIP.IRR) & ~bit);
    if (this.#get(chip, CHIP.AUTO_EOI) === 0) {
      this.#set(chip, CHIP.ISR, this.#get(chip, CHIP.ISR) | bit);
      return input;
    }
    if (this.#get(chip, CHIP.ROTATE_ON_AUTO_EOI) !== 0) this.#set(chip, CHIP.LOWEST, input);
    this.#onEnd?.(chip * INPUT_COUNT + input);
    return input;
  }

  /** Carries the slave's output to the master and the master's to the processor. */
  #update(): void {
    const slaveOutput = this.#highestPending(SLAVE) >= 0;
    const cascade = (this.#get(MASTER, CHIP.LEVELS) & (1 << CASCADE_INPUT)) !== 0;
    if (slaveOutput !== cascade) this.#setInput(MASTER, CASCADE_INPUT, slaveOutput);
    // The cascade is no latch: the master's request follows the slave's output.
    const irr = this.#get(MASTER, CHIP.IRR);
    this.#set(MASTER, CHIP.IRR, slaveOutput ? irr | (1 << CASCADE_INPUT) : irr & ~(1 << CASCADE_INPUT));
    this.#output.set(this.isAsserted());
  }

  #controllerPort(chip: number): BytePort {
    return {
      read: (port) => this.#readPort(chip, port),
      write: (port, value) => this.#writePort(chip, port, value),
    };
  }

  #writeEdgeLevel(chip: number, value: number): void {
    const writable = ELCR_WRITABLE[chip];
    if (writable === undefined) return;
    this.#set(chip, CHIP.ELCR, value & writable);
    this.#update();
  }

  #readPort(chip: number, port: number): number {
    if (port > 1) return 0xff;
    if (this.#get(chip, CHIP.POLL) !== 0) return this.#readPoll(chip);
    if (port === 1) return this.#get(chip, CHIP.IMR);
    return this.#get(chip, CHIP.READ_ISR) !== 0 ? this.#get(chip, CHIP.ISR) : this.#requests(chip);
  }

  /** Poll mode: the read is the acknowledgement. */
  #readPoll(chip: number): number {
    this.#set(chip, CHIP.POLL, 0);
    const input = this.#serviceHighest(chip);
    this.#update();
    return input < 0 ? 0 : POLL_PENDING | input;
  }

  #writePort(chip: number, port: number, value: number): void {
    if (port > 1) return;
    if (port === 1) this.#writeDataPort(chip, value);
    else if ((value & ICW1.SELECT) !== 0) this.#initialise(chip, value);
    else if ((value & OCW3.SELECT) !== 0) this.#writeOcw3(chip, value);
    else this.#writeOcw2(chip, value);
    this.#update();
  }

  #initialise(chip: number, icw1: number): void {
    // The edge circuits are reset: an input that is high must fall before it counts again.
    this.#set(chip, CHIP.IRR, 0);
    this.#set(chip, CHIP.IMR, 0);
    this.#set(chip, CHIP.ISR, 0);
    this.#set(chip, CHIP.LOWEST, INPUT_COUNT - 1);
    this.#set(chip, CHIP.AUTO_EOI, 0);
    this.#set(chip, CHIP.ROTATE_ON_AUTO_EOI, 0);
    this.#set(chip, CHIP.SPECIAL_MASK, 0);
    this.#set(chip, CHIP.SPECIAL_FULLY_NESTED, 0);
    this.#set(chip, CHIP.READ_ISR, 0);
    this.#set(chip, CHIP.POLL, 0);
    this.#set(chip, CHIP.NEEDS_ICW4, icw1 & ICW1.NEEDS_ICW4);
    this.#set(chip, CHIP.SINGLE, icw1 & ICW1.SINGLE);
    this.#set(chip, CHIP.ALL_LEVEL, icw1 & ICW1.LEVEL);
    this.#set(chip, CHIP.EXPECT, EXPECT.ICW2);
  }

  #writeDataPort(chip: number, value: number): void {
    const afterIcw3 = this.#get(chip, CHIP.NEEDS_ICW4) !== 0 ? EXPECT.ICW4 : EXPECT.NOTHING;
    switch (this.#get(chip, CHIP.EXPECT)) {
      case EXPECT.ICW2:
        this.#set(chip, CHIP.VECTOR_BASE, value & 0xf8);
        this.#set(chip, CHIP.EXPECT, this.#get(chip, CHIP.SINGLE) !== 0 ? afterIcw3 : EXPECT.ICW3);
        break;
      case EXPECT.ICW3:
        // The cascade is wired to input 2, whatever the word says.
        this.#set(chip, CHIP.EXPECT, afterIcw3);
        break;
      case EXPECT.ICW4:
        this.#set(chip, CHIP.AUTO_EOI, value & ICW4.AUTO_EOI);
        this.#set(chip, CHIP.SPECIAL_FULLY_NESTED, value & ICW4.SPECIAL_FULLY_NESTED);
        this.#set(chip, CHIP.EXPECT, EXPECT.NOTHING);
        break;
      default:
        this.#set(chip, CHIP.IMR, value);
    }
  }

  #writeOcw3(chip: number, value: number): void {
    if ((value & OCW3.POLL) !== 0) this.#set(chip, CHIP.POLL, 1);
    if ((value & OCW3.READ_REGISTER) !== 0) this.#set(chip, CHIP.READ_ISR, value & OCW3.READ_ISR);
    if ((value & OCW3.SPECIAL_MASK_ENABLE) !== 0) this.#set(chip, CHIP.SPECIAL_MASK, value & OCW3.SPECIAL_MASK);
  }

  #writeOcw2(chip: number, value: number): void {
    const level = value & 7;
    switch (value >>> 5) {
      case OCW2_COMMAND.CLEAR_ROTATE_ON_AUTO_EOI:
        this.#set(chip, CHIP.ROTATE_ON_AUTO_EOI, 0);
        break;
      case OCW2_COMMAND.SET_ROTATE_ON_AUTO_EOI:
        this.#set(chip, CHIP.ROTATE_ON_AUTO_EOI, 1);
        break;
      case OCW2_COMMAND.NON_SPECIFIC_EOI:
        this.#endHighestInService(chip, false);
        break;
      case OCW2_COMMAND.ROTATE_ON_NON_SPECIFIC_EOI:
        this.#endHighestInService(chip, true);
        break;
      case OCW2_COMMAND.SPECIFIC_EOI:
        this.#endService(chip, level, false);
        break;
      case OCW2_COMMAND.ROTATE_ON_SPECIFIC_EOI:
        this.#endService(chip, level, true);
        break;
      case OCW2_COMMAND.SET_PRIORITY:
        this.#set(chip, CHIP.LOWEST, level);
        break;
      default:
        break;
    }
  }

  #endHighestInService(chip: number, rotate: boolean): void {
    let inService = this.#get(chip, CHIP.ISR);
    // A masked input in special mask mode is not ended by a non-specific EOI.
    if (this.#get(chip, CHIP.SPECIAL_MASK) !== 0) inService &= ~this.#get(chip, CHIP.IMR);
    const priority = this.#priority(chip, inService);
    if (priority !== NO_PRIORITY) this.#endService(chip, (this.#get(chip, CHIP.LOWEST) + 1 + priority) & 7, rotate);
  }

  #endService(chip: number, input: number, rotate: boolean): void {
    const inService = this.#get(chip, CHIP.ISR);
    this.#set(chip, CHIP.ISR, inService & ~(1 << input));
    if (rotate) this.#set(chip, CHIP.LOWEST, input);
    if ((inService & (1 << input)) !== 0) this.#onEnd?.(chip * INPUT_COUNT + input);
  }
}

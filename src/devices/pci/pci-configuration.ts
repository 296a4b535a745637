import { assert } from '#util/assert.ts';
import { high32, low32 } from '#util/bits.ts';
import { allBarRegisters, barRegisters, type PciBar } from './pci-bar.ts';
import {
  CACHE_HEADER,
  CAPABILITIES_START,
  COMMAND,
  CONFIGURATION_BYTES,
  EXTENDED_CONFIGURATION_BYTES,
  INTERRUPT,
  type InterruptPin,
  NOBODY,
  REGISTER,
  STATUS,
} from './registers.ts';

/** Base class, sub-class and interface: PCI Code and ID Assignment Specification 1.11 §1. */
export interface PciClass {
  readonly base: number;
  readonly sub: number;
  readonly interface: number;
}

/** One entry of the capabilities list, PCI 3.0 §6.7. */
export interface PciCapability {
  readonly id: number;
  /** What follows the id and the pointer to the next one. */
  readonly body: Uint8Array;
  /** The bits of `body` that the guest may write; none by default. */
  readonly writable?: Uint8Array;
}

export interface PciConfigurationOptions {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision?: number;
  readonly class: PciClass;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** The device has further functions. Of function 0. */
  readonly multiFunction?: boolean;
  readonly bars?: readonly PciBar[];
  readonly capabilities?: readonly PciCapability[];
}

const CONFIGURATION_WORDS = CONFIGURATION_BYTES / 4;
const EXTENDED_CONFIGURATION_WORDS = EXTENDED_CONFIGURATION_BYTES / 4;
const CAPABILITY_HEADER_BYTES = 2;

/**
 * The configuration space of one function: a type 0 header (PCI 3.0 §6.1) over words that may be shared and moved. What the
 * guest can change is in the words alone; the rules come from the options, so that each object over the same words must be
 * made of the same options. Whoever has the words first makes their values.
 *
 * 64 words are a conventional function's space; 1024 have the extended space of PCI Express, whose registers read as 0: an
 * empty list of extended capabilities.
 */
export class PciConfiguration {
  static readonly WORDS = CONFIGURATION_WORDS;
  static readonly EXTENDED_WORDS = EXTENDED_CONFIGURATION_WORDS;

  readonly bars: readonly PciBar[];
  /** Where each capability is, in bytes, in the order of the options. */
  readonly capabilityOffsets: readonly number[];
  readonly #words: Uint32Array;
  /** By register: the bits that the guest may write. */
  readonly #writable: Uint32Array;

  constructor(words: Uint32Array, options: PciConfigurationOptions) {
    const { vendorId, bars = [], capabilities = [] } = options;
    assert(
      words.length === CONFIGURATION_WORDS || words.length === EXTENDED_CONFIGURATION_WORDS,
      'configuration space has 256 or 4096 bytes',
    );
    assert(vendorId > 0 && vendorId < 0xffff, 'a vendor identifier');
    this.#words = words;
    this.#writable = new Uint32Array(words.length);
    this.bars = bars;
    this.capabilityOffsets = placeCapabilities(capabilities);
    const initial = new Uint32Array(words.length);
    fillHeader(initial, options);
    this.#addBars(initial);
    this.#addCapabilities(initial, capabilities);
    this.#writable[REGISTER.COMMAND_STATUS] = writableCommand(bars);
    this.#writable[REGISTER.CACHE_HEADER] = CACHE_HEADER.CACHE_LINE | CACHE_HEADER.LATENCY_TIMER;
    this.#writable[REGISTER.INTERRUPT] = INTERRUPT.LINE;
    // A function that there is has a vendor: words without one are new.
    if (words[REGISTER.ID] === 0) words.set(initial);
  }

  /** All ones beyond the end of the space. */
  readRegister(register: number): number {
    return this.#words[register] ?? NOBODY;
  }

  /**
   * Writes the 1 to 4 bytes of `data` from byte `offset` of the register on, with any combination of them as the bus's byte
   * enables allow; bytes outside the register are lost.
   */
  writeRegister(register: number, offset: number, data: Uint8Array): void {
    const before = this.#words[register];
    if (before === undefined) return;
    const { value, mask } = registerBytes(offset, data);
    const writable = this.#writable[register]! & mask;
    let after = (before & ~writable) | (value & writable);
    if (register === REGISTER.COMMAND_STATUS) after &= ~(value & mask & STATUS.ERRORS);
    this.#words[register] = after;
  }

  get command(): number {
    return this.#words[REGISTER.COMMAND_STATUS]! & 0xffff;
  }

  /** Where the guest has put the BAR, whether or not it is decoded. 2^53 and more are the nearest double. */
  barAddress(index: number): number {
    return this.#barRegisters(index).reduce((address, { register, addressMask }, i) => {
      return address + ((this.#words[REGISTER.BAR0 + register]! & addressMask) >>> 0) * 2 ** (32 * i);
    }, 0);
  }

  /** Before the guest runs: a multiple of the BAR's size. */
  setBarAddress(index: number, address: number): void {
    this.#barRegisters(index).forEach(({ register, addressMask, flags }, i) => {
      const part = i === 0 ? low32(address) : high32(address);
      assert((part & ~addressMask) === 0, 'the address of a BAR is a multiple of its size');
      this.#words[REGISTER.BAR0 + register] = part | flags;
    });
  }

  /** The pin that the function drives, and what the interrupt line register starts as; PCI 3.0 §6.2.4. */
  setInterrupt(pin: InterruptPin, line: number): void {
    this.#words[REGISTER.INTERRUPT] = (pin << INTERRUPT.PIN_SHIFT) | (line & INTERRUPT.LINE);
  }

  get interruptStatus(): boolean {
    return (this.#words[REGISTER.COMMAND_STATUS]! & STATUS.INTERRUPT) !== 0;
  }

  set interruptStatus(pending: boolean) {
    const others = this.#words[REGISTER.COMMAND_STATUS]! & ~STATUS.INTERRUPT;
    this.#words[REGISTER.COMMAND_STATUS] = others | (pending ? STATUS.INTERRUPT : 0);
  }

  #barRegisters(index: number) {
    const bar = this.bars.find((candidate) => candidate.index === index);
    assert(bar !== undefined, 'no such BAR');
    return barRegisters(bar);
  }

  #addBars(initial: Uint32Array): void {
    for (const { register, addressMask, flags } of allBarRegisters(this.bars)) {
      initial[REGISTER.BAR0 + register] = flags;
      this.#writable[REGISTER.BAR0 + register] = addressMask;
    }
  }

  #addCapabilities(initial: Uint32Array, capabilities: readonly PciCapability[]): void {
    const values = new DataView(initial.buffer);
    const offsets = this.capabilityOffsets;
    if (capabilities.length > 0) {
      setWord(values, REGISTER.COMMAND_STATUS, STATUS.CAPABILITIES_LIST);
      setWord(values, REGISTER.CAPABILITIES_POINTER, offsets[0]!);
    }
    capabilities.forEach(({ id, body, writable = new Uint8Array() }, i) => {
      const offset = offsets[i]!;
      assert(writable.length <= body.length, 'only what there is can be written');
      assert(id > 0 && id <= 0xff, 'a capability identifier');
      values.setUint8(offset, id);
      values.setUint8(offset + 1, offsets[i + 1] ?? 0);
      new Uint8Array(initial.buffer).set(body, offset + CAPABILITY_HEADER_BYTES);
      new Uint8Array(this.#writable.buffer).set(writable, offset + CAPABILITY_HEADER_BYTES);
    });
  }
}

/** The bytes of a write as a register sees them, and a mask of which bytes they are. */
export function registerBytes(offset: number, data: Uint8Array): { readonly value: number; readonly mask: number } {
  let value = 0;
  let mask = 0;
  for (let i = 0; i < data.length && offset + i < 4; i++) {
    value |= data[i]! << (8 * (offset + i));
    mask |= 0xff << (8 * (offset + i));
  }
  return { value, mask };
}

function setWord(view: DataView, register: number, value: number): void {
  view.setUint32(register * 4, value, true);
}

/** One after the other, each at a multiple of 4 as the specification demands. Asserts that they fit. */
function placeCapabilities(capabilities: readonly PciCapability[]): readonly number[] {
  let next = CAPABILITIES_START;
  return capabilities.map(({ body }) => {
    const offset = next;
    next = Math.ceil((offset + CAPABILITY_HEADER_BYTES + body.length) / 4) * 4;
    assert(next <= CONFIGURATION_BYTES, 'the capabilities do not fit into the configuration space');
    return offset;
  });
}

function fillHeader(initial: Uint32Array, options: PciConfigurationOptions): void {
  const { class: code } = options;
  initial[REGISTER.ID] = options.vendorId | (options.deviceId << 16);
  initial[REGISTER.REVISION_CLASS] =
    (code.base << 24) | (code.sub << 16) | (code.interface << 8) | (options.revision ?? 0);
  initial[REGISTER.CACHE_HEADER] = options.multiFunction ? CACHE_HEADER.MULTI_FUNCTION : 0;
  initial[REGISTER.SUBSYSTEM] = (options.subsystemVendorId ?? 0) | ((options.subsystemId ?? 0) << 16);
}

/** A function has the bits of the spaces in which it has something. It never reports errors: their enables are fixed at 0. */
function writableCommand(bars: readonly PciBar[]): number {
  const io = bars.some(({ kind }) => kind === 'io') ? COMMAND.IO_SPACE : 0;
  const memory = bars.some(({ kind }) => kind !== 'io') ? COMMAND.MEMORY_SPACE : 0;
  return io | memory | COMMAND.BUS_MASTER | COMMAND.INTX_DISABLE;
}

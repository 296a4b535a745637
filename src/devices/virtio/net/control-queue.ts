/** The control queue, VIRTIO 1.1 §5.1.6.5: which frames the driver wants, how many pairs it uses, what it can take at the moment. */
import { u16, u32, u64, viewOf } from '#util/struct.ts';
import type { ChainReader, ChainWriter } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { QueueFault } from '../queue/queue-fault.ts';
import type { RequestHandler } from '../worker.ts';
import {
  ControlAck,
  ControlGuestOffloads,
  ControlHeader,
  ControlMac,
  ControlMq,
  ControlRx,
  ControlVlan,
  MAC_BYTES,
  MAC_GROUP,
  NetFeature,
} from './constants.ts';
import { type MacList, type ReceiveFilter, TABLE_ENTRIES_MAX, VLAN_IDS } from './receive-filter.ts';

const { CTRL_GUEST_OFFLOADS, CTRL_MAC_ADDR, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, MQ } = NetFeature;
const { GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO } = NetFeature;
/** The bits of an offload are those of its feature. */
export const GUEST_OFFLOADS = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_UFO;

const { controlClass: CLASS, command: COMMAND } = ControlHeader.fields;
/** What is read of a command at once: no field is longer. */
const FIELD_BYTES_MAX = u64.size;

export interface NetControlOptions {
  /** Those of the negotiation. */
  readonly features: bigint;
  readonly pairsMax: number;
  readonly filter: ReceiveFilter;
  readonly usePairs: (count: number) => void;
  /** The offloads alone. */
  readonly useOffloads: (bits: bigint) => void;
  /** `mac` is valid during the call. */
  readonly useMac: (mac: Uint8Array) => void;
}

/** Answers commands. One that is not known, was not negotiated or says what cannot be is answered with ERR and changes nothing. */
export class NetControl implements RequestHandler {
  readonly #options: NetControlOptions;
  /** What was read last, from its start. */
  readonly #field = new Uint8Array(FIELD_BYTES_MAX);
  readonly #view = viewOf(this.#field);
  readonly #mac = new Uint8Array(MAC_BYTES);
  /** Addresses of a command that may turn out to be none. */
  readonly #addresses = new Uint8Array(TABLE_ENTRIES_MAX * MAC_BYTES);
  readonly #ack = new Uint8Array(1);

  constructor(options: NetControlOptions) {
    this.#options = options;
  }

  handle(chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number | QueueFault {
    if (chain.writableBytes < this.#ack.length) return 'NO_ROOM_FOR_ANSWER';
    this.#ack[0] = this.#readField(reader, ControlHeader.size) && this.#obey(reader) ? ControlAck.OK : ControlAck.ERR;
    writer.write(this.#ack);
    return this.#ack.length;
  }

  #obey(reader: ChainReader): boolean {
    const command = COMMAND.get(this.#view, 0);
    switch (CLASS.get(this.#view, 0)) {
      case ControlRx.CLASS:
        return this.#setMode(command, reader);
      case ControlMac.CLASS:
        if (command === ControlMac.TABLE_SET) return this.#setTable(reader);
        return command === ControlMac.ADDR_SET && this.#setMac(reader);
      case ControlVlan.CLASS:
        return this.#setVlan(command, reader);
      case ControlMq.CLASS:
        return command === ControlMq.VQ_PAIRS_SET && this.#setPairs(reader);
      case ControlGuestOffloads.CLASS:
        return command === ControlGuestOffloads.SET && this.#setOffloads(reader);
      default:
        return false;
    }
  }

  #has(feature: bigint): boolean {
    return (this.#options.features & feature) !== 0n;
  }

  /** Reads the next field of the command; false when there is less. */
  #readField(reader: ChainReader, sizeBytes: number): boolean {
    if (reader.remaining < sizeBytes) return false;
    for (let index = 0; index < FIELD_BYTES_MAX; index++) this.#field[index] = 0;
    reader.read(this.#field.subarray(0, sizeBytes));
    return true;
  }

  /** Reads what the command says, all of it. */
  #readData(reader: ChainReader, sizeBytes: number): boolean {
    return reader.remaining === sizeBytes && this.#readField(reader, sizeBytes);
  }

  #setMode(mode: number, reader: ChainReader): boolean {
    if (mode > ControlRx.NOBCAST || !this.#has(mode <= ControlRx.ALLMULTI ? CTRL_RX : CTRL_RX_EXTRA)) return false;
    if (!this.#readData(reader, 1) || this.#field[0]! > 1) return false;
    this.#options.filter.setMode(mode, this.#field[0] === 1);
    return true;
  }

  /** Two lists, unicast then multicast, each behind the number of its entries. Nothing is taken of a command whose size is not theirs. */
  #setTable(reader: ChainReader): boolean {
    if (!this.#has(CTRL_RX)) return false;
    const { unicast, multicast } = this.#options.filter;
    if (!this.#readField(reader, u32.size)) return false;
    const unicastCount = u32.get(this.#view, 0);
    if (unicastCount * MAC_BYTES + u32.size > reader.remaining) return false;
    const isKept = unicastCount <= TABLE_ENTRIES_MAX;
    const kept = isKept ? unicastCount * MAC_BYTES : 0;
    reader.read(this.#addresses.subarray(0, kept));
    reader.skip(unicastCount * MAC_BYTES - kept);
    if (!this.#readField(reader, u32.size)) return false;
    const multicastCount = u32.get(this.#view, 0);
    if (multicastCount * MAC_BYTES !== reader.remaining) return false;
    fill(unicast, this.#addresses, unicastCount);
    if (multicastCount <= TABLE_ENTRIES_MAX) reader.read(this.#addresses);
    fill(multicast, this.#addresses, multicastCount);
    return true;
  }

  #setMac(reader: ChainReader): boolean {
    if (!this.#has(CTRL_MAC_ADDR) || !this.#readData(reader, MAC_BYTES)) return false;
    for (let index = 0; index < MAC_BYTES; index++) this.#mac[index] = this.#field[index]!;
    if ((this.#mac[0]! & MAC_GROUP) !== 0) return false;
    this.#options.useMac(this.#mac);
    return true;
  }

  #setVlan(command: number, reader: ChainReader): boolean {
    if (!this.#has(CTRL_VLAN) || (command !== ControlVlan.ADD && command !== ControlVlan.DEL)) return false;
    if (!this.#readData(reader, u16.size)) return false;
    const id = u16.get(this.#view, 0);
    if (id >= VLAN_IDS) return false;
    this.#options.filter.setVlan(id, command === ControlVlan.ADD);
    return true;
  }

  #setPairs(reader: ChainReader): boolean {
    const { pairsMax, usePairs } = this.#options;
    if (!this.#has(MQ) || !this.#readData(reader, u16.size)) return false;
    const count = u16.get(this.#view, 0);
    if (count < 1 || count > pairsMax) return false;
    usePairs(count);
    return true;
  }

  /** Only what was negotiated can be taken back and given again. */
  #setOffloads(reader: ChainReader): boolean {
    const { features, useOffloads } = this.#options;
    if (!this.#has(CTRL_GUEST_OFFLOADS) || !this.#readData(reader, u64.size)) return false;
    const offloads = u64.get(this.#view, 0);
    if ((offloads & ~(features & GUEST_OFFLOADS)) !== 0n) return false;
    useOffloads(offloads);
    return true;
  }
}

/** `addresses` has `count` of them, unless they are too many. */
function fill(list: MacList, addresses: Uint8Array, count: number): void {
  list.clear();
  list.hasAll = count > TABLE_ENTRIES_MAX;
  if (list.hasAll) return;
  list.count = count;
  list.bytes.set(addresses.subarray(0, count * MAC_BYTES));
}

/** Which frames the driver wants, VIRTIO 1.1 §5.1.6.5.1 to §5.1.6.5.3: by the address they are for and by their VLAN. */
import { ControlRx, HEADER_BYTES, MAC_BYTES, MAC_GROUP, NetFeature } from './constants.ts';

/** Of each list, unicast and multicast. More are taken for all there are: the filter may let through what was not asked for. */
export const TABLE_ENTRIES_MAX = 64;
/** IEEE 802.1Q: identifiers have 12 bits. */
export const VLAN_IDS = 0x1000;
const VLAN_TYPE = 0x8100;
const WORD_BITS = 32;

/** Where the parts of a frame lie in a packet. */
const TARGET_AT = HEADER_BYTES;
const TYPE_AT = HEADER_BYTES + 2 * MAC_BYTES;
const TAG_AT = TYPE_AT + 2;
const TAG_END = TAG_AT + 2;

const MODE_COUNT = ControlRx.NOBCAST + 1;

/** A list of addresses, or all. */
export class MacList {
  /** There were too many for the list. */
  hasAll = false;
  count = 0;
  readonly bytes = new Uint8Array(TABLE_ENTRIES_MAX * MAC_BYTES);

  clear(): void {
    this.hasAll = false;
    this.count = 0;
  }

  /** Whether it has the address for which the packet is. */
  matches(packet: Uint8Array): boolean {
    if (this.hasAll) return true;
    const size = this.count * MAC_BYTES;
    for (let at = 0; at < size; at += MAC_BYTES) if (isTarget(packet, this.bytes, at)) return true;
    return false;
  }
}

/**
 * Begins with its modes off and its tables empty. Without CTRL_RX the driver cannot say for which addresses it wants frames and gets
 * all of them; without CTRL_VLAN the same goes for VLANs.
 */
export class ReceiveFilter {
  readonly unicast = new MacList();
  readonly multicast = new MacList();
  readonly #filtersAddresses: boolean;
  readonly #filtersVlans: boolean;
  readonly #mac: Uint8Array;
  /** By the command of ControlRx that sets it. */
  readonly #modes = new Uint8Array(MODE_COUNT);
  /** A bit for each identifier. */
  readonly #vlans = new Uint32Array(VLAN_IDS / WORD_BITS);

  /** `features`: those of the negotiation. `mac`: the device's address; it is looked at, not copied. */
  constructor(features: bigint, mac: Uint8Array) {
    this.#filtersAddresses = (features & NetFeature.CTRL_RX) !== 0n;
    this.#filtersVlans = (features & NetFeature.CTRL_VLAN) !== 0n;
    this.#mac = mac;
  }

  /** `mode`: a command of ControlRx. */
  setMode(mode: number, isOn: boolean): void {
    this.#modes[mode] = isOn ? 1 : 0;
  }

  /** `id`: less than VLAN_IDS. */
  setVlan(id: number, isWanted: boolean): void {
    const bit = 1 << (id % WORD_BITS);
    const at = Math.trunc(id / WORD_BITS);
    this.#vlans[at] = isWanted ? this.#vlans[at]! | bit : this.#vlans[at]! & ~bit;
  }

  /** Whether the driver wants a packet: a frame of at least FRAME_BYTES_MIN behind its header. */
  accepts(packet: Uint8Array): boolean {
    if (this.#modes[ControlRx.PROMISC] === 1) return true;
    return (
      (!this.#filtersVlans || this.#acceptsVlan(packet)) && (!this.#filtersAddresses || this.#acceptsTarget(packet))
    );
  }

  /** What has no tag is in no VLAN, and so is what has identifier 0, whose tag is there for its priority alone. */
  #acceptsVlan(packet: Uint8Array): boolean {
    if (((packet[TYPE_AT]! << 8) | packet[TYPE_AT + 1]!) !== VLAN_TYPE) return true;
    if (packet.length < TAG_END) return false;
    const id = ((packet[TAG_AT]! << 8) | packet[TAG_AT + 1]!) & (VLAN_IDS - 1);
    return id === 0 || (this.#vlans[Math.trunc(id / WORD_BITS)]! & (1 << (id % WORD_BITS))) !== 0;
  }

  #acceptsTarget(packet: Uint8Array): boolean {
    const modes = this.#modes;
    if ((packet[TARGET_AT]! & MAC_GROUP) === 0) {
      if (modes[ControlRx.NOUNI] === 1) return false;
      return modes[ControlRx.ALLUNI] === 1 || isTarget(packet, this.#mac, 0) || this.unicast.matches(packet);
    }
    if (isBroadcast(packet)) return modes[ControlRx.NOBCAST] === 0;
    if (modes[ControlRx.NOMULTI] === 1) return false;
    return modes[ControlRx.ALLMULTI] === 1 || this.multicast.matches(packet);
  }
}

function isTarget(packet: Uint8Array, addresses: Uint8Array, at: number): boolean {
  for (let index = 0; index < MAC_BYTES; index++) {
    if (packet[TARGET_AT + index] !== addresses[at + index]) return false;
  }
  return true;
}

function isBroadcast(packet: Uint8Array): boolean {
  for (let index = 0; index < MAC_BYTES; index++) if (packet[TARGET_AT + index] !== 0xff) return false;
  return true;
}

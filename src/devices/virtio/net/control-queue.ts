/** The control queue, VIRTIO 1.1 §5.1.6.5: how many pairs are used, and what the driver can take at the moment. */
import { u16, u64 } from '#util/struct.ts';
import type { ChainReader, ChainWriter } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { QueueFault } from '../queue/queue-fault.ts';
import type { RequestHandler } from '../worker.ts';
import { ControlAck, ControlGuestOffloads, ControlHeader, ControlMq, NetFeature } from './constants.ts';

const { CTRL_GUEST_OFFLOADS, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, MQ } = NetFeature;
/** The bits of an offload are those of its feature. */
export const GUEST_OFFLOADS = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_UFO;

/** No command here is longer: class, command, and eight bytes. */
const COMMAND_BYTES_MAX = ControlHeader.size + u64.size;

export interface NetControlOptions {
  /** Those of the negotiation. */
  readonly features: bigint;
  readonly pairsMax: number;
  readonly usePairs: (count: number) => void;
  /** The offloads alone. */
  readonly useOffloads: (bits: bigint) => void;
}

/** Answers commands. One that is not known, was not negotiated or says what cannot be is answered with ERR. */
export class NetControl implements RequestHandler {
  readonly #options: NetControlOptions;
  readonly #command = new Uint8Array(COMMAND_BYTES_MAX);
  readonly #view = new DataView(this.#command.buffer);
  readonly #ack = new Uint8Array(1);

  constructor(options: NetControlOptions) {
    this.#options = options;
  }

  handle(chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number | QueueFault {
    if (chain.writableBytes < this.#ack.length) return 'NO_ROOM_FOR_ANSWER';
    const sizeBytes = chain.readableBytes;
    if (sizeBytes <= COMMAND_BYTES_MAX) reader.read(this.#command);
    const isDone = sizeBytes >= ControlHeader.size && sizeBytes <= COMMAND_BYTES_MAX && this.#obey(sizeBytes);
    this.#ack[0] = isDone ? ControlAck.OK : ControlAck.ERR;
    writer.write(this.#ack);
    return this.#ack.length;
  }

  #obey(sizeBytes: number): boolean {
    const { controlClass, command } = ControlHeader.decode(this.#view);
    const dataBytes = sizeBytes - ControlHeader.size;
    if (controlClass === ControlMq.CLASS && command === ControlMq.VQ_PAIRS_SET) return this.#setPairs(dataBytes);
    if (controlClass === ControlGuestOffloads.CLASS && command === ControlGuestOffloads.SET) {
      return this.#setOffloads(dataBytes);
    }
    return false;
  }

  #setPairs(dataBytes: number): boolean {
    const { features, pairsMax, usePairs } = this.#options;
    if ((features & MQ) === 0n || dataBytes !== u16.size) return false;
    const count = u16.get(this.#view, ControlHeader.size);
    if (count < 1 || count > pairsMax) return false;
    usePairs(count);
    return true;
  }

  /** Only what was negotiated can be taken back and given again. */
  #setOffloads(dataBytes: number): boolean {
    const { features, useOffloads } = this.#options;
    if ((features & CTRL_GUEST_OFFLOADS) === 0n || dataBytes !== u64.size) return false;
    const offloads = u64.get(this.#view, ControlHeader.size);
    if ((offloads & ~(features & GUEST_OFFLOADS)) !== 0n) return false;
    useOffloads(offloads);
    return true;
  }
}

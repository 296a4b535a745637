/** Requests that no device of their kind can make sense of, or that ask for too much. */
import { RequestType } from '#devices/virtio/block/constants.ts';
import { FRAME_BYTES_MAX, HEADER_BYTES } from '#devices/virtio/net/constants.ts';
import { DescriptorFlag } from '#devices/virtio/queue/ring-layout.ts';
import type { MockBuffer } from '#devices/virtio/testing/mock-queue.ts';
import { Operation } from '#devices/virtio/vsock/constants.ts';
import { GiB, MiB } from '#util/bits.ts';
import { type Attack, FREE_RAM, RAM_BYTES } from './attack.ts';
import type { HostileCase } from './case.ts';
import {
  blockHeader,
  FREE_PAGE,
  GUEST_CID,
  HOST_PORT,
  readable,
  SECTOR_BYTES,
  SILENT_PORT,
  type VsockFields,
  vsockHeader,
  writable,
} from './targets.ts';

const { NEXT, WRITE } = DescriptorFlag;
const BLOCK = ['block0', 'block1'];
const BLOCK_ANSWERS = ['OK', 'IOERR', 'UNSUPP'];
const CHAIN_BUFFERS = 1024;

/** One good chain with this in it. */
export const send = (only: readonly string[], name: string, ...buffers: readonly MockBuffer[]): HostileCase => ({
  name,
  only,
  run: (attack) => {
    attack.start();
    attack.queue.add(...buffers);
    return attack.outcome();
  },
});

/** What the status byte of a request says. */
const ask = (name: string, ...buffers: readonly MockBuffer[]): HostileCase => ({
  name,
  only: BLOCK,
  run: (attack) => {
    attack.start();
    const chain = attack.exchange([...buffers, writable(1)]);
    const status = chain === undefined ? -1 : attack.memory.readU8(chain.addresses.at(-1) ?? 0);
    return BLOCK_ANSWERS[status] ?? attack.outcome();
  },
});

const at = (type: number, sector: number | bigint): MockBuffer => readable(blockHeader(type, sector));
const words = (...values: readonly number[]): MockBuffer => readable(new Uint8Array(Uint32Array.from(values).buffer));
const data = writable(SECTOR_BYTES);

/** So many chains of just under 4 GiB, whose buffers are one and the same piece of RAM; a header of their own comes before. */
export function hugeChains(
  attack: Attack,
  { count, header, writes }: { readonly count: number; readonly header?: Uint8Array; readonly writes: boolean },
): string {
  attack.start();
  const { queue, memory } = attack;
  const pages = new Uint32Array(MiB).fill(FREE_PAGE);
  memory.writeBytes(FREE_RAM, new Uint8Array(pages.buffer));
  const size = 4 * MiB - 512;
  let table = FREE_RAM + 4 * MiB;
  const first = table + 16 * CHAIN_BUFFERS;
  const descriptors = [];
  if (header !== undefined) {
    memory.writeBytes(first, header);
    descriptors.push({ address: first, length: header.length });
  }
  while (descriptors.length < CHAIN_BUFFERS - 1)
    descriptors.push({ address: FREE_RAM, length: size, flags: writes ? WRITE : 0 });
  descriptors.push({ address: first + 64, length: 1, flags: WRITE });
  descriptors.forEach((descriptor, index) => {
    const isLast = index === descriptors.length - 1;
    const flags = (descriptor.flags ?? 0) | (isLast ? 0 : NEXT);
    queue.writeDescriptorAt(table, { ...descriptor, flags, next: isLast ? 0 : index + 1 });
    table += 16;
  });
  for (let index = 0; index < count; index++) {
    queue.writeDescriptor(index, {
      address: FREE_RAM + 4 * MiB,
      length: 16 * CHAIN_BUFFERS,
      flags: DescriptorFlag.INDIRECT,
    });
    queue.makeAvailable(index);
  }
  return attack.outcome();
}

const BLOCK_CASES: readonly HostileCase[] = [
  ask('a header of 15 bytes', readable(new Uint8Array(15)), data),
  ask('no header', data),
  ask('a type of request that does not exist', at(0x7fff_ffff, 0), data),
  ask('a read at sector 2^64 - 1', at(RequestType.IN, 2n ** 64n - 1n), data),
  ask('a read at sector 2^53 + 1', at(RequestType.IN, 2n ** 53n + 1n), data),
  ask('a read at sector 2^55, whose byte is 2^64', at(RequestType.IN, 2n ** 55n), data),
  ask('a read behind the end', at(RequestType.IN, 2048), data),
  ask('a read of 511 bytes', at(RequestType.IN, 0), writable(511)),
  ask('a write of 513 bytes', at(RequestType.OUT, 0), readable(new Uint8Array(513))),
  ask('a write behind the end', at(RequestType.OUT, 2n ** 63n), readable(new Uint8Array(512))),
  ask('a read without a buffer', at(RequestType.IN, 0)),
  ask('the identifier into 0 bytes', at(RequestType.GET_ID, 0)),
  ask('a discard of no segment', at(RequestType.DISCARD, 0)),
  ask('a discard of half a segment', at(RequestType.DISCARD, 0), words(0, 0)),
  ask('a discard with unknown flags', at(RequestType.DISCARD, 0), words(0, 0, 1, 0xffff_fffe)),
  ask('a discard that wraps around', at(RequestType.DISCARD, 0), words(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0)),
  ask('a discard of 2048 segments', at(RequestType.DISCARD, 0), readable(new Uint8Array(16 * 2048))),
  ask('zeros behind the end', at(RequestType.WRITE_ZEROES, 0), words(2047, 0, 2, 0)),
  ask(
    'zeros all over the disk 1024 times in one request',
    at(RequestType.WRITE_ZEROES, 0),
    words(...Array.from({ length: 1024 }, () => [0, 0, 2048, 0]).flat()),
  ),
  send(BLOCK, 'no room for a status', at(RequestType.IN, 0)),
  {
    name: 'a queue full of reads of 4 GiB',
    only: BLOCK,
    run: (attack) => hugeChains(attack, { count: 256, header: blockHeader(RequestType.IN, 0), writes: true }),
  },
];

/** struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. */
const frame = (header: readonly number[], sizeBytes: number): MockBuffer => {
  const bytes = new Uint8Array(HEADER_BYTES + sizeBytes);
  bytes.set(header);
  return readable(bytes);
};
const ONES = Array<number>(HEADER_BYTES).fill(0xff);

const NET_CASES: readonly HostileCase[] = [
  send(['net0'], 'a packet of no bytes behind its header', frame([], 0)),
  send(['net0'], 'half a header', readable(new Uint8Array(5))),
  send(['net0'], 'a header of ones', frame(ONES, 60)),
  send(['net0'], 'a checksum behind the end', frame([1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 60)),
  send(['net0'], 'segments that were not negotiated, of no bytes', frame([1, 1, 0xff, 0xff], 60)),
  send(['net0'], 'the largest packet and a byte', readable(new Uint8Array(HEADER_BYTES + FRAME_BYTES_MAX + 1))),
  send(['net0'], 'a packet in a buffer to be written', writable(64)),
  {
    name: 'a queue full of packets of 4 GiB',
    only: ['net0'],
    run: (attack) => hugeChains(attack, { count: 256, writes: false }),
  },
  {
    name: 'commands of ones and of 5000 bytes, then one without room for its answer',
    only: ['net0'],
    run: (attack) => {
      attack.start();
      const control = attack.queues.at(-1);
      for (const sizeBytes of [1, 2, 10, 5000])
        control?.add(readable(new Uint8Array(sizeBytes).fill(0xff)), writable(1));
      control?.add(readable(Uint8Array.of(4, 0, 1, 0)));
      attack.kick(attack.queues.length - 1);
      return `${attack.outcome()} after ${control?.usedIndex} answers`;
    },
  },
  {
    name: 'buffers for packets that are not to be written',
    only: ['net0'],
    run: (attack) => {
      attack.start();
      const queue = attack.queues[0];
      for (let index = 0; index < 32; index++) queue?.add(readable(new Uint8Array(64)));
      attack.kick(0);
      attack.settle();
      return attack.works() ? 'answered' : 'broken';
    },
  },
];

const packet = (name: string, fields: VsockFields, payload = new Uint8Array()): HostileCase =>
  send(['vsock'], name, readable(Uint8Array.from([...vsockHeader(fields), ...payload])));

const VSOCK_CASES: readonly HostileCase[] = [
  send(['vsock'], 'half a header', readable(new Uint8Array(20))),
  packet("another's address", { srcCid: GUEST_CID + 1, op: Operation.REQUEST }),
  packet('to an address that nobody has', { dstCid: 2 ** 52, op: Operation.REQUEST }),
  packet('a type that does not exist', { type: 0xffff, op: Operation.REQUEST }),
  packet('an operation that does not exist', { op: 0xffff, dstPort: HOST_PORT }),
  packet('bytes without a connection', { op: Operation.RW, len: 4, dstPort: HOST_PORT }, new Uint8Array(4)),
  packet('a length of 4 GiB', { op: Operation.RW, len: 0xffff_ffff, dstPort: HOST_PORT }),
  packet('a connection to port 2^32 - 1', { op: Operation.REQUEST, dstPort: 0xffff_ffff }),
  {
    name: 'bytes without credit',
    only: ['vsock'],
    run: (attack) => {
      attack.start();
      attack.exchange([readable(vsockHeader({ op: Operation.REQUEST, srcPort: 1, dstPort: SILENT_PORT }))]);
      const bytes = Uint8Array.from([
        ...vsockHeader({ op: Operation.RW, srcPort: 1, dstPort: SILENT_PORT, len: 32_768 }),
        ...new Uint8Array(32_768),
      ]);
      for (let round = 0; round < 32; round++) attack.exchange([readable(bytes)]);
      return attack.works() ? 'answered' : 'no more';
    },
  },
  {
    name: 'questions to which there is no room for an answer',
    only: ['vsock'],
    run: (attack) => {
      attack.start();
      for (let port = 0; port < 2000; port++) {
        attack.queue.add(readable(vsockHeader({ op: Operation.REQUEST, srcPort: port, dstPort: 1 })));
        attack.kick();
        if (port % 64 === 0) attack.settle();
      }
      attack.settle();
      const answered = attack.queue.usedIndex;
      return answered < 512 ? 'no more are taken' : `${answered} were taken`;
    },
  },
  {
    name: 'connections that are begun and broken off without end',
    only: ['vsock'],
    run: (attack) => {
      attack.start();
      for (let round = 0; round < 3000; round++) {
        for (const op of [Operation.REQUEST, Operation.RST])
          attack.queue.add(readable(vsockHeader({ op, srcPort: round, dstPort: HOST_PORT })));
        attack.kick();
        if (round % 64 === 0) attack.settle();
      }
      attack.settle();
      return attack.works() ? 'answered' : 'no more';
    },
  },
  {
    name: 'more connections than there may be',
    only: ['vsock'],
    run: (attack) => {
      attack.start();
      for (let port = 0; port < 700; port++) {
        attack.queue.add(readable(vsockHeader({ op: Operation.REQUEST, srcPort: port, dstPort: HOST_PORT })));
        attack.kick();
        if (port % 64 === 0) attack.settle();
      }
      attack.settle();
      attack.start();
      return attack.works() ? 'answered' : 'no more';
    },
  },
];

const BALLOON_CASES: readonly HostileCase[] = [
  send(['balloon'], 'half a page number', readable(Uint8Array.of(1, 2))),
  send(['balloon'], 'pages outside RAM', words(0xffff_ffff, 0x8000_0000, 2 * (GiB / 4096))),
  send(['balloon'], 'page numbers in a buffer to be written', writable(64)),
  {
    name: 'lists of 2^30 pages',
    only: ['balloon'],
    run: (attack) => hugeChains(attack, { count: 8, writes: false }),
  },
  {
    name: 'pages of its own queue',
    only: ['balloon'],
    run: (attack) => {
      attack.start();
      const outcome = attack.offer({ address: FREE_RAM, length: 4 });
      attack.memory.writeU32(FREE_RAM, attack.area / 4096);
      return outcome.outcome() === '' ? '' : 'answered, ignored or NEEDS_RESET';
    },
  },
  {
    name: 'a size of the balloon beyond RAM',
    only: ['balloon'],
    run: (attack) => {
      attack.start();
      attack.driver.write(0x2004, 4, 0xffff_ffff);
      return attack.driver.read(0x2004, 4) <= RAM_BYTES / 4096 ? 'cut to RAM' : 'taken';
    },
  },
  {
    name: 'statistics of ones, and more of them than there are',
    only: ['balloon'],
    run: (attack) => {
      attack.start();
      for (let round = 0; round < 8; round++)
        attack.queues[2]?.add(readable(new Uint8Array(4096).fill(0xff)), readable(Uint8Array.of(1)));
      attack.kick(2);
      attack.settle();
      return attack.works() ? 'answered' : 'broken';
    },
  },
];

const RNG_CASES: readonly HostileCase[] = [
  send(['rng'], 'a request for no bytes', readable(new Uint8Array(16))),
  {
    name: 'a queue full of requests for 4 GiB',
    only: ['rng'],
    run: (attack) => hugeChains(attack, { count: 256, writes: true }),
  },
];

export const REQUEST_CASES: readonly HostileCase[] = [
  ...RNG_CASES,
  ...BLOCK_CASES,
  ...NET_CASES,
  ...VSOCK_CASES,
  ...BALLOON_CASES,
];

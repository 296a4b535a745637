/** npm run bench -- virtio-vsock: packets of the socket device with a peer on the same machine, whose own time does not count. */
import { Operation, VsockHeader } from '../src/devices/virtio/vsock/constants.ts';
import { CID, VsockMachine } from '../src/devices/virtio/vsock/testing.ts';
import type { Bench } from './bench.ts';

const ROUNDS = 7;
const BATCHES = 2000;
/** What a queue of the test machine holds: 64 KiB, so that a peer that reads after each batch never stalls the guest. */
const DEPTH = 16;
const PAYLOAD_BYTES = 4096;
const PORTS = { srcPort: 1024, dstPort: 52 } as const;
/** More than all rounds send. */
const CREDIT_BYTES = 0xffff_ffff;

function connected(): VsockMachine {
  const machine = new VsockMachine();
  machine.host.offered.add(PORTS.dstPort);
  machine.send({ ...PORTS, op: Operation.REQUEST, bufAlloc: CREDIT_BYTES });
  machine.exchange();
  return machine;
}

/** Nanoseconds of processor time for each packet: `prepare` is not counted. */
function measure(machine: VsockMachine, prepare: () => void, finish: () => void): number {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let micros = 0;
    for (let batch = 0; batch < BATCHES; batch++) {
      prepare();
      const started = process.threadCpuUsage();
      machine.worker.turn(0);
      const { user, system } = process.threadCpuUsage(started);
      micros += user + system;
      finish();
    }
    times.push((micros * 1e3) / (BATCHES * DEPTH));
  }
  return times.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

function toHost(): number {
  using machine = connected();
  const payload = new Uint8Array(PAYLOAD_BYTES);
  const send = (): void => {
    for (let count = 0; count < DEPTH; count++) machine.send({ ...PORTS, op: Operation.RW }, payload);
  };
  let got = 0;
  const nanoseconds = measure(machine, send, () => {
    got += machine.host.peers[0]?.read()?.length ?? 0;
    machine.exchange();
  });
  check(got);
  return nanoseconds;
}

function toGuest(): number {
  using machine = connected();
  const bytes = new Uint8Array(DEPTH * PAYLOAD_BYTES);
  let got = 0;
  const nanoseconds = measure(
    machine,
    () => machine.host.peers[0]?.send(bytes),
    () => {
      for (const { header } of machine.takePackets()) got += header.dstCid === CID ? header.len : 0;
    },
  );
  check(got);
  return nanoseconds;
}

function check(got: number): void {
  const expected = ROUNDS * BATCHES * DEPTH * PAYLOAD_BYTES;
  if (got !== expected) throw new Error(`${got} bytes arrived of ${expected}`);
}

async function run(): Promise<number> {
  for (const { name, ns } of [
    { name: 'to host', ns: toHost() },
    { name: 'to guest', ns: toGuest() },
  ]) {
    const mibPerSecond = Math.round((PAYLOAD_BYTES / ns) * (1e9 / 2 ** 20));
    const line = {
      name,
      bytes: PAYLOAD_BYTES + VsockHeader.size,
      depth: DEPTH,
      nsPerPacket: Math.round(ns),
      mibPerSecond,
    };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
  return 0;
}

export default {
  name: 'virtio-vsock',
  describe: 'packets of the socket device per second, from the kick on',
  run,
} satisfies Bench;

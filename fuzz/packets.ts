/** What hostile peers send over message sockets: for the targets msg-socket and protocol. */
import assert from 'node:assert/strict';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { MessageBuffer } from '#sys/message.ts';
import { mutate } from './mutate.ts';
import type { Random } from './random.ts';
import { showBytes, shrinkBytes } from './target.ts';

export interface Packet {
  readonly bytes: Uint8Array;
  readonly fdCount: number;
}

const FDS_MAX = 8;
/** A declaration's signature, which mutations spare mostly: without it nothing else is looked at. */
const HEADER_SIZE_BYTES = 4;

/** A valid packet, or one with a few changes. */
export function mutatePacket(bytes: Uint8Array, fdCount: number, random: Random): Packet {
  if (random.oneIn(10)) return { bytes: mutate(bytes, random), fdCount: random.below(FDS_MAX) };
  const body = bytes.slice(HEADER_SIZE_BYTES);
  return {
    bytes: Buffer.concat([bytes.subarray(0, HEADER_SIZE_BYTES), random.oneIn(3) ? body : mutate(body, random)]),
    fdCount: random.oneIn(3) ? random.below(FDS_MAX) : Math.min(fdCount, FDS_MAX),
  };
}

/** The descriptors are some end of the socket itself. */
export function sendPacket(peer: Fd, { bytes, fdCount }: Packet): void {
  const buffer = new MessageBuffer(Math.max(bytes.length, 1), FDS_MAX);
  buffer.bytes.set(bytes);
  const fds = Array.from({ length: fdCount }, () => peer);
  assert.equal(buffer.send(peer, bytes.length, fds, false), 0);
}

/** The lowest free descriptor: one that was left open moves it, as the kernel always hands out the lowest. */
export function lowestFree(): number {
  using probe = new Fd(dup(0));
  return probe.fd;
}

export function showPacket({ bytes, fdCount }: Packet): string {
  return `${fdCount} descriptors, ${showBytes(bytes)}`;
}

export function* shrinkPacket<P extends Packet>(packet: P): Iterable<P> {
  for (let fdCount = 0; fdCount < packet.fdCount; fdCount++) yield { ...packet, fdCount };
  for (const bytes of shrinkBytes(packet.bytes)) yield { ...packet, bytes };
}

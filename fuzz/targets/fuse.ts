/** FUSE requests of a hostile driver over a directory in memory, whose host notes whatever it should not have been asked. */
import assert from 'node:assert/strict';
import { InHeader, InitIn, Opcode, OutHeader, ROOT_ID, VERSION } from '#devices/virtio/fs/constants.ts';
import { FileType } from '#devices/virtio/fs/host-fs.ts';
import { NAMESPACE_IDS } from '#devices/virtio/fs/ids.ts';
import { FuseClient } from '#devices/virtio/fs/testing/fuse-client.ts';
import type { MemoryHost } from '#devices/virtio/fs/testing/memory-host.ts';
import type { MockBuffer } from '#devices/virtio/testing/mock-queue.ts';
import { viewOf } from '#util/struct.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const REQUESTS = 60;
/** What ends a session, or begins one, would be most of what happens. */
const OPCODES = Object.values(Opcode).filter((each) => each !== Opcode.INIT && each !== Opcode.DESTROY);
const FRESH_NAMES = ['f', 'd', 's', 'new', 'other'];
/** The arguments of operations: bytes of the structure, and how many texts follow it. */
const SHAPES: ReadonlyMap<number, readonly [structBytes: number, textCount: number]> = new Map([
  [Opcode.LOOKUP, [0, 1]],
  [Opcode.FORGET, [8, 0]],
  [Opcode.GETATTR, [16, 0]],
  [Opcode.SETATTR, [88, 0]],
  [Opcode.SYMLINK, [0, 2]],
  [Opcode.MKNOD, [16, 1]],
  [Opcode.MKDIR, [8, 1]],
  [Opcode.UNLINK, [0, 1]],
  [Opcode.RMDIR, [0, 1]],
  [Opcode.RENAME, [8, 2]],
  [Opcode.RENAME2, [16, 2]],
  [Opcode.LINK, [8, 1]],
  [Opcode.OPEN, [8, 0]],
  [Opcode.OPENDIR, [8, 0]],
  [Opcode.READ, [40, 0]],
  [Opcode.READDIR, [40, 0]],
  [Opcode.READDIRPLUS, [40, 0]],
  [Opcode.WRITE, [40, 1]],
  [Opcode.FSYNC, [16, 0]],
  [Opcode.CREATE, [16, 1]],
  [Opcode.FALLOCATE, [32, 0]],
  [Opcode.LSEEK, [24, 0]],
  [Opcode.COPY_FILE_RANGE, [56, 0]],
]);
const NAMES = [
  'f',
  'd',
  's',
  'p',
  'new',
  'other',
  '.',
  '..',
  'a/b',
  '',
  'user.a',
  'user.',
  'security.x',
  'n'.repeat(300),
];
/** Linux's are below, and so the driver's. */
const ERRNO_MAX = 4095;
const LIMITS = { inodesMax: 6, filesMax: 4 } as const;

function fill(host: MemoryHost): void {
  host.put('f', FileType.REGULAR | 0o644, 'contents of a file');
  host.put('d', FileType.DIRECTORY | 0o755);
  host.put('d/f', FileType.REGULAR | 0o600, 'deeper');
  host.put('s', FileType.SYMLINK | 0o777, '/etc/passwd');
  host.put('p', FileType.FIFO | 0o644);
  for (let at = 0; at < 12; at++) host.put(`entry-${'x'.repeat(at * 7)}`, FileType.REGULAR | 0o644);
}

/** A number as a node, a file, an offset or a size could be: most often small. */
function word(random: Random): bigint {
  return random.oneIn(6) ? random.boundary(64) : BigInt(random.below(random.oneIn(4) ? 5000 : 8));
}

/** 64-bit words, or two of 32 bits. */
function words(random: Random, sizeBytes: number): Uint8Array {
  const encoded = new Uint8Array(sizeBytes);
  const view = viewOf(encoded);
  for (let at = 0; at + 8 <= sizeBytes; at += 8) {
    if (random.oneIn(2)) view.setBigUint64(at, word(random), true);
    else {
      view.setUint32(at, Number(BigInt.asUintN(32, word(random))), true);
      view.setUint32(at + 4, random.oneIn(2) ? 0 : Number(BigInt.asUintN(32, word(random))), true);
    }
  }
  return encoded;
}

/** Arguments as the operation takes them, or as any could, not always to their end. */
function body(random: Random, opcode: number): Uint8Array {
  const shape = random.oneIn(4) ? undefined : SHAPES.get(opcode);
  const [structBytes, textCount] = shape ?? [8 * random.below(random.oneIn(20) ? 40 : 12), random.below(3)];
  const names = shape === undefined || random.oneIn(6) ? NAMES : FRESH_NAMES;
  const texts = Array.from({ length: textCount }, () => `${random.pick(names)}${random.oneIn(20) ? '' : '\0'}`);
  const whole = Buffer.concat([words(random, structBytes), ...texts.map((text) => Buffer.from(text))]);
  return random.oneIn(20) ? whole.subarray(0, random.below(whole.length + 1)) : whole;
}

function request(random: Random, opcode: number): Uint8Array {
  const content = opcode === Opcode.INIT ? initBody(random) : body(random, opcode);
  const size = InHeader.size + content.length;
  const len = random.oneIn(30) ? Number(random.boundary(32)) : size;
  const header = InHeader.encode({ len, opcode, uid: random.below(3), gid: random.below(3) });
  viewOf(header).setBigUint64(InHeader.fields.nodeid.offset, random.oneIn(2) ? BigInt(ROOT_ID) : word(random), true);
  return Buffer.concat([header, content]);
}

function initBody(random: Random): Uint8Array {
  const major = random.oneIn(4) ? random.below(10) : VERSION.MAJOR;
  return InitIn.encode({ major, minor: random.oneIn(4) ? random.below(40) : 38, flags: Number(random.boundary(32)) });
}

/** Cuts bytes into buffers anywhere. */
function cut(random: Random, bytes: Uint8Array): MockBuffer[] {
  const buffers: MockBuffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = random.oneIn(3) ? 1 + random.below(bytes.length - at) : bytes.length - at;
    buffers.push({ readable: bytes.subarray(at, at + size) });
    at += size;
  }
  return buffers;
}

function opcodeOf(random: Random): number {
  if (random.oneIn(25)) return Number(random.boundary(32));
  if (random.oneIn(100)) return random.pick([Opcode.INIT, Opcode.DESTROY]);
  return random.oneIn(3) ? random.pick([Opcode.LOOKUP, Opcode.CREATE, Opcode.OPENDIR]) : random.pick(OPCODES);
}

/** False when the queue has stopped, for want of room for an answer. */
function exchange(client: FuseClient, random: Random): boolean {
  const bytes = request(random, opcodeOf(random));
  const sent = random.oneIn(40) ? bytes.subarray(0, random.below(InHeader.size)) : bytes;
  const rooms = random.oneIn(50) ? [] : [OutHeader.size, ...(random.oneIn(4) ? [] : [1 + random.below(5000)])];
  const answer = rooms.map((writableBytes) => ({ writableBytes }));
  const buffers = [...cut(random, sent), ...answer];
  if (buffers.length === 0) return true;
  const reply = client.exchange(buffers);
  const hasStopped = client.interrupt.resets.length > 0;
  if (hasStopped) assert.equal(rooms.length, 0, 'a request with room for an answer stops nothing');
  if (reply === undefined) return !hasStopped;
  assert.ok(reply.error <= 0 && reply.error >= -ERRNO_MAX, `an error of ${reply.error}`);
  if (reply.error !== 0) assert.equal(reply.data.length, 0, 'an error has no data');
  return true;
}

function checkEnd({ host, device }: FuseClient): void {
  assert.ok(host.openCount <= LIMITS.inodesMax + LIMITS.filesMax, `${host.openCount} descriptors`);
  device.reset();
  assert.deepEqual(host.misuses, []);
  assert.equal(host.openCount, 0, 'a reset closes everything');
  assert.ok(!host.rootNode.entries.has('..') && !host.rootNode.entries.has('.'));
}

function fuseTarget(name: string, inodesMax: number): FuzzTarget {
  return {
    name,
    run(random) {
      const limits = { inodesMax, filesMax: LIMITS.filesMax };
      const options = { readOnly: random.oneIn(8), writeback: random.oneIn(2), givesAway: random.oneIn(3) };
      const cache = random.pick(['never', 'auto', 'always'] as const);
      using client = new FuseClient({ ...limits, ...options, cache, ids: NAMESPACE_IDS });
      fill(client.host);
      if (!random.oneIn(20)) client.init(random.oneIn(2) ? 0xffff_ffff : 0);
      for (let count = 0; count < REQUESTS; count++) if (!exchange(client, random)) break;
      checkEnd(client);
    },
  };
}

export const target = fuseTarget('fuse', LIMITS.inodesMax);

/** Deliberately wrong: the server takes the host to have more descriptors than it has. */
export const canary = fuseTarget('fuse', LIMITS.inodesMax + 5);

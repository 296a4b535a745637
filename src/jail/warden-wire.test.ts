import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MESSAGE_BYTES_MAX, type MessageType } from '#msg-socket/message-type.ts';
import { decode, encode } from '#msg-socket/testing.ts';
import { Fd } from '#sys/fd.ts';
import { BASE_JAIL, type JailConfig } from './jail-config.ts';
import { JailMessage } from './jail-message.ts';
import { DEVICE_FDS_MAX, type ForkRequest, PARAMETERS_BYTES_MAX, WardenReply, WardenRequest } from './warden-wire.ts';

/** Encoding only looks at it. */
const FAKE_FD = new Fd(1_000_000);

const through = <T>(type: MessageType<T>, value: T): T => {
  const { bytes, fds } = encode(type, value);
  return decode(
    type,
    bytes,
    fds.map(({ fd }) => fd),
  );
};

/** Without what is undefined, which a message leaves out. */
const plain = (value: object): unknown => structuredClone(Object.fromEntries(definedOf(value)));
const definedOf = (value: object) => Object.entries(value).filter(([, field]) => field !== undefined);

/** As large as a jail can be. */
const LARGEST_JAIL: JailConfig = {
  ...BASE_JAIL,
  root: { folder: `/${'f'.repeat(4094)}`, readOnly: true },
  user: { uid: 65534, gid: 0xffff_ffff },
  uidMap: Array.from({ length: 340 }, (_, index) => ({ inside: index, outside: 0xffff_fffe, count: 1 })),
  gidMap: Array.from({ length: 340 }, (_, index) => ({ inside: index, outside: 0, count: 0xffff_ffff })),
  capabilities: 2 ** 41 - 1,
  rlimits: { CPU: 0, NOFILE: 2 ** 20, RTPRIO: 2 ** 53 - 1 },
  seccomp: new Uint8Array(8 * 4096).fill(0xa5),
  denied: 'refuse',
};

const request = (more: Partial<ForkRequest> = {}): ForkRequest => ({
  kind: 'fork',
  id: 7,
  device: 'block',
  name: 'block0',
  jail: BASE_JAIL,
  usesGuestMemory: true,
  parameters: Uint8Array.of(1, 2, 3),
  socket: FAKE_FD,
  fds: [],
  ...more,
});

describe('a jail on the wire', () => {
  for (const [name, jail] of Object.entries<JailConfig>({
    'the base': BASE_JAIL,
    none: { namespaces: [], root: 'host', rlimits: {}, dumpable: true },
    'the largest': LARGEST_JAIL,
  })) {
    test(`${name} comes as it was sent`, () => {
      assert.deepEqual(plain(through(JailMessage, jail)), plain(jail));
    });
  }

  for (const [what, jail] of Object.entries<Partial<JailConfig>>({
    'a filter of more than 4096 instructions': { seccomp: new Uint8Array(8 * 4096 + 1) },
    'a path above PATH_MAX': { root: { folder: `/${'f'.repeat(4095)}`, readOnly: true } },
    'more maps than the kernel takes': { uidMap: new Array(341).fill({ inside: 0, outside: 0, count: 1 }) },
  })) {
    test(`${what} is not sent`, () => {
      assert.throws(() => encode(JailMessage, { ...BASE_JAIL, ...jail }), { name: 'AssertionError' });
    });
  }
});

describe('a request to the warden', () => {
  test('has a size that is known when it is declared', () => {
    assert.ok(WardenRequest.maxBytes <= MESSAGE_BYTES_MAX, `${WardenRequest.maxBytes}`);
  });

  test('the largest comes as it was sent', () => {
    const sent = request({
      jail: LARGEST_JAIL,
      parameters: new Uint8Array(PARAMETERS_BYTES_MAX).fill(9),
      fds: new Array<Fd>(DEVICE_FDS_MAX).fill(FAKE_FD),
    });
    const received = through<WardenRequest>(WardenRequest, sent);
    assert.ok(received.kind === 'fork');
    assert.deepEqual(
      [received.id, received.device, received.name, received.usesGuestMemory, received.parameters],
      [sent.id, sent.device, sent.name, sent.usesGuestMemory, sent.parameters],
    );
    assert.deepEqual(
      [received.socket, ...received.fds].map(({ fd }) => fd),
      new Array(DEVICE_FDS_MAX + 1).fill(FAKE_FD.fd),
    );
    assert.deepEqual(plain(received.jail), plain(LARGEST_JAIL));
  });

  const { bytes } = encode<WardenRequest>(WardenRequest, request({ fds: [FAKE_FD] }));
  const changed = (at: number, value: number): Uint8Array<ArrayBuffer> => bytes.with(at, value);
  for (const [what, packet, fdCount, code] of [
    ['with a descriptor too few', bytes, 1, 'WRONG_DESCRIPTORS'],
    ['with a descriptor too many', bytes, 3, 'WRONG_DESCRIPTORS'],
    ['of another declaration', changed(0, (bytes[0] ?? 0) ^ 1), 2, 'WRONG_KIND'],
    ['of a kind that there is not', changed(4, 2), 2, 'BAD_VALUE'],
    ['that is cut off', bytes.slice(0, -1), 2, 'TOO_SHORT'],
    ['with a byte too many', Uint8Array.from([...bytes, 0]), 2, 'TOO_LONG'],
    ['that is a reply', encode<WardenReply>(WardenReply, { kind: 'ready', id: 1 }).bytes, 0, 'WRONG_KIND'],
  ] as const) {
    test(`${what} is refused`, () => {
      assert.throws(() => decode(WardenRequest, packet, new Array(fdCount).fill(FAKE_FD.fd)), {
        name: 'MsgError',
        code,
      });
    });
  }
});

describe('a reply of the warden comes as it was sent', () => {
  for (const reply of [
    { kind: 'ready', id: 1 },
    { kind: 'refused', id: 2, message: 'no device of this name: toaster' },
    { kind: 'notJailed', id: 3, refusal: { step: 'user namespace', errno: 28, message: 'ENOSPC' } },
    { kind: 'denied', id: 4, call: 257 },
    { kind: 'denied', id: 4, call: -1 },
    { kind: 'ended', id: 5, status: { exitCode: 255 } },
    { kind: 'ended', id: 6, status: { signal: 31 } },
  ] satisfies WardenReply[]) {
    test(JSON.stringify(reply), () => {
      assert.deepEqual(through<WardenReply>(WardenReply, reply), reply);
    });
  }

  test('a reason that is too long is cut', () => {
    const { message } = through<WardenReply>(WardenReply, { kind: 'refused', id: 1, message: 'ö'.repeat(2000) }) as {
      message: string;
    };
    assert.equal(message, 'ö'.repeat(500));
  });
});

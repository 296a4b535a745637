import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decode, encode } from '#msg-socket/testing.ts';
import { VmControlError, VmRequest, VmResponse } from './vm-request.ts';

const request = (...body: number[]): Uint8Array<ArrayBuffer> => Uint8Array.from([...Buffer.from('CVMQ'), ...body]);

const BALLOON_STATS = {
  swapIn: 1,
  swapOut: undefined,
  majorFaults: undefined,
  minorFaults: undefined,
  freeMemory: 2 ** 40,
  totalMemory: undefined,
  availableMemory: undefined,
  diskCaches: undefined,
  hugetlbAllocations: undefined,
  hugetlbFailures: undefined,
};

describe('the wire of version 1, as docs/control-socket.md has it', () => {
  const requests: readonly [VmRequest, number[]][] = [
    [{ kind: 'hello', version: 0x0102 }, [0, 2, 1]],
    [{ kind: 'status' }, [1]],
    [{ kind: 'stop' }, [2]],
    [{ kind: 'powerButton' }, [3]],
    [{ kind: 'suspend' }, [4]],
    [{ kind: 'resume' }, [5]],
    [{ kind: 'balloon', sizeBytes: 0x0102_0304_0506 }, [6, 6, 5, 4, 3, 2, 1, 0, 0]],
    [{ kind: 'balloonStats' }, [7]],
    [{ kind: 'diskResize', index: 2, sizeBytes: 2 ** 40 }, [8, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]],
  ];
  for (const [value, body] of requests) {
    test(`${value.kind} is request ${body[0]}`, () => {
      assert.deepEqual([...encode(VmRequest, value).bytes], [...request(...body)]);
      assert.deepEqual({ ...decode(VmRequest, request(...body)) }, value);
    });
  }

  test('responses are hello, status, done, error and the balloon', () => {
    const status = {
      state: 'running',
      pid: 1,
      version: '0',
      hypervisor: 'software',
      cpus: 1,
      memoryMib: 2,
      uptimeMs: 3,
    };
    const values: VmResponse[] = [
      { kind: 'hello', version: 1 },
      { kind: 'status', ...status },
      { kind: 'done' },
      { kind: 'error', code: 'UNKNOWN_REQUEST', message: 'no' },
      { kind: 'balloonStats', targetBytes: 1, actualBytes: 2, sequence: 3, stats: BALLOON_STATS },
    ];
    for (const [tag, value] of values.entries()) {
      const { bytes } = encode(VmResponse, value);
      assert.equal(Buffer.from(bytes.subarray(0, 4)).toString(), 'CVMA');
      assert.equal(bytes[4], tag);
      assert.deepEqual({ ...decode(VmResponse, bytes) }, value);
    }
  });
});

describe('bytes that are no request', () => {
  test('a request of a later revision is UNKNOWN_REQUEST, whatever follows', () => {
    const expected = (error: unknown): boolean => error instanceof VmControlError && error.code === 'UNKNOWN_REQUEST';
    assert.throws(() => decode(VmRequest, request(200)), expected);
    assert.throws(() => decode(VmRequest, request(200, 1, 2)), expected);
  });

  for (const [name, bytes, code] of [
    ['the beginning of one', request(), 'TOO_SHORT'],
    ['a hello without its version', request(0, 1), 'TOO_SHORT'],
    ['a request with more bytes', request(1, 0), 'TOO_LONG'],
    ['a message of another protocol', Buffer.from('GET / HTTP/1.1'), 'WRONG_KIND'],
  ] as const) {
    test(`${name} is ${code}`, () => {
      assert.throws(() => decode(VmRequest, bytes), { name: 'MsgError', code });
    });
  }
});

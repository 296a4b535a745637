/** Which entries of its own policy a device needs: it works once for each entry, under the policy without that entry. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { DeviceProxy } from '#devices/proxy/device-protocol.ts';
import { ProxyDevice } from '#devices/proxy/proxy-device.ts';
import { RequestHeader, RequestType, SEGMENT_UNMAP, Segment } from '#devices/virtio/block/constants.ts';
import { PmemRequest, PmemRequestType } from '#devices/virtio/pmem/constants.ts';
import { MockDriver } from '#devices/virtio/testing/mock-driver.ts';
import { type MockBuffer, MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import { probeJail } from '#jail/probe.ts';
import { X86_64 } from '#jail/seccomp/architecture.ts';
import { encode } from '#jail/seccomp/bpf.ts';
import { compilePolicy, policyPath } from '#jail/seccomp/compile.ts';
import { type DeviceRequest, type RequestedDevice, Warden } from '#jail/warden.ts';
import type { ChildStatus } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { CodedError } from '#util/errors.ts';
import { type CreatedDevice, createDevices } from '#vmm/devices/create-devices.ts';
import type { DiskClient } from '#vmm/devices/plans/block.ts';
import { FUSE_REQUESTS } from './fuse-requests.ts';
import { DISK_BYTES, MEMORY_BYTES, TestMachine } from './machine.ts';

const ENTRY = new URL('../../../src/vmm/devices/warden-entry.ts', import.meta.url);
const TIMEOUT_MS = 20_000;
const KINDS = ['rng', 'block', 'fs', 'pmem'] as const;
/** What the device of the kind is called. */
const NAMES: Readonly<Record<Kind, string>> = { rng: 'rng', block: 'block0', fs: 'fs0', pmem: 'pmem0' };
/** The queue that takes its requests. */
const QUEUE: Readonly<Record<Kind, number>> = { rng: 0, block: 0, fs: 1, pmem: 0 };
type Kind = (typeof KINDS)[number];

/** What a device never does here, and what it is for. */
const UNUSED: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
  rng: { getrandom: 'the bytes come from a descriptor of /dev/urandom' },
  block: {
    pread64: 'the tables of qcow2 images are read so, and this image is raw',
  },
  pmem: {},
  fs: {},
};

/** Behind it are the queues that get no request. */
const REQUESTS_END = MEMORY_BYTES / 2;

/** Used where the file system cannot make zeros: whether that of this test can is not ours to say. */
const DEPENDS_ON_HOST: readonly string[] = ['pwrite64'];

const entriesOf = (kind: Kind): string[] =>
  [...readFileSync(policyPath(X86_64, `${kind}_device`), 'utf8').matchAll(/^(\w+):/gm)].map(([, call = '']) => call);

/** The program of a policy without one of its entries. */
function programWithout(kind: Kind, call: string): Uint8Array {
  const path = policyPath(X86_64, `${kind}_device`);
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-policy-'));
  try {
    cpSync(dirname(path), folder, { recursive: true });
    const changed = join(folder, 'changed.policy');
    writeFileSync(changed, readFileSync(path, 'utf8').replace(new RegExp(`^${call}:.*\n`, 'm'), ''));
    return encode(compilePolicy({ path: changed, architecture: X86_64, defaultAction: 'kill-process' }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Gives devices of a kind another filter. */
class ChangingWarden extends Warden {
  changed: { readonly kind: Kind; readonly seccomp: Uint8Array } | undefined;

  override request(device: DeviceRequest, fds: readonly number[] = []): RequestedDevice {
    const { changed } = this;
    const isChanged = changed !== undefined && device.device === changed.kind;
    return super.request(isChanged ? { ...device, jail: { ...device.jail, seccomp: changed.seccomp } } : device, fds);
  }
}

const status: MockBuffer = { writableBytes: 1 };
const header = (type: number): MockBuffer => ({ readable: RequestHeader.encode({ type, sector: 8 }) });
const segment = (flags: number): MockBuffer => ({ readable: Segment.encode({ sector: 128, numSectors: 128, flags }) });

/** One of each request that a device knows. */
const REQUESTS: Readonly<Record<Kind, readonly (readonly MockBuffer[])[]>> = {
  rng: [[{ writableBytes: 64 }]],
  block: [
    [header(RequestType.OUT), { readable: new Uint8Array(512) }, status],
    [header(RequestType.IN), { writableBytes: 512 }, { writableBytes: 512 }, status],
    [header(RequestType.FLUSH), status],
    [header(RequestType.GET_ID), { writableBytes: 20 }, status],
    [header(RequestType.DISCARD), segment(0), status],
    [header(RequestType.WRITE_ZEROES), segment(0), status],
    [header(RequestType.WRITE_ZEROES), segment(SEGMENT_UNMAP), status],
  ],
  pmem: [[{ readable: PmemRequest.encode({ type: PmemRequestType.FLUSH }) }, { writableBytes: 4 }]],
  fs: FUSE_REQUESTS,
};

/** Drives a device from its start to the end of the machine; stops when it is gone. */
function work(machine: TestMachine, kind: Kind, { place }: CreatedDevice): void {
  assert.ok(place.kind === 'pci');
  const { pciFunction } = place;
  let isGone = false;
  const proxy = new ProxyDevice({
    ...pciFunction,
    socket: { fd: pciFunction.socketFd },
    onFailure: () => {
      isGone = true;
    },
  });
  const driver = new MockDriver({
    read: (offset, data) => proxy.readBar(0, offset, data),
    write: (offset, data) => proxy.writeBar(0, offset, data),
  });
  machine.memory.fill(0, machine.memory.sizeBytes, 0);
  const queue = new MockQueue(machine.memory, { size: 128, end: REQUESTS_END });
  const before = Array.from(
    { length: QUEUE[kind] },
    () => new MockQueue(machine.memory, { size: 64, start: REQUESTS_END }),
  );
  driver.start(driver.offeredFeatures(), ...before.map((each) => each.config()), queue.config());
  for (const request of REQUESTS[kind]) queue.add(...request);
  driver.notify(QUEUE[kind]);
  while (!isGone && queue.usedIndex < REQUESTS[kind].length) driver.get('deviceStatus');
  driver.reset();
  if (!isGone)
    DeviceProxy.client({ borrowed: { fd: pciFunction.socketFd } }, { sequence: pciFunction.sequence }).shutdown();
}

/** A filter without the call ends the process, which its status tells. */
function grow(disk: DiskClient | undefined): void {
  try {
    disk?.resize({ sizeBytes: 2 * DISK_BYTES });
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
  }
}

const refusals = probeJail();
const skip = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

describe('the policy of a device', { skip, timeout: 120_000 }, () => {
  for (const kind of KINDS) {
    test(`${kind}: has entries that its work needs, and others with a reason`, (t) => {
      using machine = new TestMachine();
      using warden = new ChangingWarden({ entry: ENTRY, guestMemoryFd: machine.memory.fd });
      const endWithout = (call: string): ChildStatus => {
        using owned = new DisposableStack();
        truncateSync(machine.diskPath, DISK_BYTES);
        machine.emptySharedDir();
        warden.changed = { kind, seccomp: programWithout(kind, call) };
        const options = machine.options({ pmem: true });
        // The device of the run before may not have ended yet.
        const unlocked = options.disks.map((disk) => ({ ...disk, lock: false }));
        const { devices, disks } = createDevices({ ...options, disks: unlocked, warden }, owned);
        const device = devices.find(({ name }) => name === NAMES[kind]);
        assert.ok(device !== undefined);
        if (kind === 'block') grow(disks[0]);
        work(machine, kind, device);
        for (;;) {
          const event = warden.nextEvent(TIMEOUT_MS);
          assert.ok(event !== undefined && event.kind !== 'notJailed', JSON.stringify(event));
          if (event.kind === 'ended' && event.id === device.id) return event.status;
        }
      };
      const ends = entriesOf(kind).map((call) => ({ call, end: endWithout(call) }));
      t.diagnostic(ends.map(({ call, end }) => `${call}: ${JSON.stringify(end)}`).join('\n'));
      for (const { call, end } of ends.filter((each) => !DEPENDS_ON_HOST.includes(each.call))) {
        assert.deepEqual(end, call in UNUSED[kind] ? { exitCode: 0 } : { signal: Signal.SIGSYS }, call);
      }
      assert.deepEqual(
        Object.keys(UNUSED[kind]).filter((call) => !entriesOf(kind).includes(call)),
        [],
      );
    });
  }
});

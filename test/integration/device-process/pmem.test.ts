/** Persistent memory as main makes it: the files, and where they lie among the guest's addresses. */

import assert from 'node:assert/strict';
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { PmemParameters } from '#devices/virtio/pmem/parameters.ts';
import { BAR } from '#devices/virtio/transport/common-config.ts';
import type { MemoryRegion } from '#hypervisor/memory-region.ts';
import { decodeBytes } from '#msg-socket/bytes.ts';
import { OpenFlag } from '#sys/file.ts';
import { GiB, MiB } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { ConfigError } from '#vmm/config.ts';
import { pmemPlan } from '#vmm/devices/plans/pmem.ts';
import { openPmemImages } from '#vmm/pmem-image.ts';
import { linksIn } from '../jail/observe.ts';
import { TestMachine } from './machine.ts';
import { RunningDevices } from './running.ts';

/** A file of so many bytes. */
function file(machine: TestMachine, name: string, sizeBytes: number): string {
  const path = join(machine.folder, name);
  writeFileSync(path, new Uint8Array(sizeBytes));
  return path;
}

function problemsOf(path: string, { readOnly = false, roomBytes = GiB } = {}): string[] {
  using owned = new DisposableStack();
  try {
    openPmemImages([{ path, readOnly, root: false }], roomBytes, owned);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.mistakes.map(({ option, message }) => `${option}: ${message}`);
  }
}

describe('files of persistent memory', () => {
  test('that cannot be used are refused with what is wrong', () => {
    using machine = new TestMachine();
    const { folder } = machine;
    assert.deepEqual(problemsOf(join(folder, 'none')), [`--pmem: "${folder}/none": does not exist`]);
    assert.match(problemsOf(folder)[0] ?? '', /^--pmem: .*cannot be used \(EISDIR\)$/);
    assert.deepEqual(problemsOf(folder, { readOnly: true }), [`--pmem: "${folder}": is not a regular file`]);
    assert.deepEqual(problemsOf('/dev/zero'), ['--pmem: "/dev/zero": is not a regular file']);
    assert.deepEqual(problemsOf(file(machine, 'empty', 0)), [`--pmem: "${folder}/empty": is empty`]);
  });

  test('that do not fit beside RAM are refused, rounded up to 2 MiB', () => {
    using machine = new TestMachine();
    const path = file(machine, 'large', 4 * MiB + 1);
    assert.deepEqual(problemsOf(path, { roomBytes: 6 * MiB }), []);
    const message = '--pmem: 6 MiB do not fit: beside this much RAM there is room for 5 MiB';
    assert.deepEqual(problemsOf(path, { roomBytes: 5 * MiB }), [message]);
  });

  test('are locked: for one that writes, or several that read', () => {
    using machine = new TestMachine();
    const path = file(machine, 'image', 1);
    using owned = new DisposableStack();
    openPmemImages([{ path, readOnly: true, root: false }], GiB, owned);
    assert.deepEqual(problemsOf(path, { readOnly: true }), []);
    assert.deepEqual(problemsOf(path), [`--pmem: "${path}": another process uses it`]);
  });
});

describe('persistent memory among the addresses of the guest', () => {
  for (const { sizeBytes, parts } of [
    { sizeBytes: 1, parts: [0x1000, 0x1ff000] },
    { sizeBytes: 0x20_0000, parts: [0x20_0000] },
    { sizeBytes: 0x20_1001, parts: [0x20_2000, 0x1f_e000] },
  ]) {
    test(`a file of ${sizeBytes} bytes lies at a multiple of 128 MiB, with zeros up to 2 MiB`, () => {
      using machine = new TestMachine();
      using owned = new DisposableStack();
      const { allocator } = machine.options();
      const path = file(machine, 'image', sizeBytes);
      const regions: MemoryRegion[] = [];
      const targets: string[] = [];
      const addMemoryRegion = (region: MemoryRegion): number => {
        targets.push(readlinkSync(`/proc/self/fd/${region.fd}`).replace(/^\/memfd:(\S+) .*/, '$1'));
        return regions.push(region);
      };
      const plans = [false, true].map((readOnly, index) => {
        // What is opened here is closed here, so that the next may have the file.
        using opened = new DisposableStack();
        const [image] = openPmemImages([{ path, readOnly, root: false }], GiB, opened);
        assert.ok(image !== undefined);
        return pmemPlan(image, index, { allocator, addMemoryRegion }, owned);
      });
      const total = parts.reduce((sum, each) => sum + each, 0);
      const starts = [4 * GiB, 4 * GiB + 128 * MiB];
      assert.deepEqual(
        plans.map(({ parameters }) => decodeBytes(PmemParameters, parameters)),
        starts.map((start) => ({ start, sizeBytes: total })),
      );
      assert.deepEqual(
        regions.map(({ guestAddress, sizeBytes: each, readOnly, fileOffset }) => [
          guestAddress,
          each,
          readOnly,
          fileOffset,
        ]),
        starts.flatMap((start, index) =>
          parts.map((each, part) => [start + (part === 0 ? 0 : (parts[0] ?? 0)), each, index === 1, 0]),
        ),
      );
      const expected = [0, 1].flatMap((index) => [path, `pmem${index}-rest`].slice(0, parts.length));
      assert.deepEqual(targets, expected);
      assert.deepEqual(
        plans.map(({ fds }) => fds.length),
        [1, 0],
        'a device that cannot be flushed has no file',
      );
    });
  }

  test('the device says where it lies, and its process has the file for reading alone', () => {
    using running = new RunningDevices({ sandbox: false });
    const { regions, pmemPath } = running.machine;
    const [region] = regions.values();
    const [start, sizeBytes] = [new Uint8Array(8), new Uint8Array(8)];
    const proxy = running.proxy('pmem0');
    proxy.readBar(0, BAR.DEVICE.offset, start);
    proxy.readBar(0, BAR.DEVICE.offset + 8, sizeBytes);
    assert.equal(viewOf(start).getBigUint64(0, true), BigInt(region?.guestAddress ?? 0));
    assert.deepEqual([viewOf(sizeBytes).getBigUint64(0, true), region?.sizeBytes], [2n ** 21n, 8192]);
    const pid = running.process('pmem0');
    const links = Object.entries(linksIn(`/proc/${pid}/fd`)).filter(([, link]) => link === pmemPath);
    const flags = links.map(
      ([fd]) => /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'))?.[1],
    );
    assert.deepEqual(
      flags.map((text) => Number.parseInt(text ?? '', 8) & 3),
      [OpenFlag.RDONLY],
    );
  });
});

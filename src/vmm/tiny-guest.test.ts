import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import type { Hypervisor, VcpuBus, VcpuExit, Vm } from '#hypervisor/vm.ts';
import { hostClock } from '#util/clock.ts';
import { runTinyGuest } from './tiny-guest.ts';

/** A hypervisor whose vCPUs do this. */
function pretending(run: (bus: VcpuBus, isKicked: () => boolean) => VcpuExit): Hypervisor {
  let kicked = false;
  const createVcpu = (_index: number, bus: VcpuBus) => ({
    setState: () => {},
    run: () => run(bus, () => kicked),
    [Symbol.dispose]: () => {},
  });
  const kick = (): void => {
    kicked = true;
  };
  const vm = { createVcpu, kick, [Symbol.dispose]: () => {} };
  return {
    name: 'pretended',
    physicalAddressBits: 40,
    loadVcpus: async () => {},
    createVm: () => vm as unknown as Vm,
  } as unknown as Hypervisor;
}

const writes = (value: number) => (bus: VcpuBus, isKicked: () => boolean) => {
  bus.writePort(0x10, Uint8Array.of(value & 0xff, (value >> 8) & 0xff, value >> 16, 0));
  assert.ok(isKicked());
  return { reason: 'kicked' } as const;
};

describe('a tiny guest', () => {
  test('runs on the software CPU', async () => {
    assert.equal(await runTinyGuest(softwareHypervisor, hostClock), undefined);
  });

  test('is content with the right sum alone', async () => {
    assert.equal(await runTinyGuest(pretending(writes(500_500)), hostClock), undefined);
    const wrong = await runTinyGuest(pretending(writes(500_499)), hostClock);
    assert.equal(wrong, 'its guest computed 500499 in place of 500500');
  });

  test('tells of one that stops', async () => {
    const stops = pretending(() => ({ reason: 'shutdown', detail: 'triple fault' }));
    assert.equal(await runTinyGuest(stops, hostClock), 'its guest stopped: shutdown: triple fault');
  });

  test('ends one that never answers', async () => {
    const never = pretending((bus, isKicked) => {
      const dueNs = bus.timers.nextDeadlineNs();
      bus.timers.advance(dueNs - 1);
      assert.ok(!isKicked());
      bus.timers.advance(dueNs);
      assert.ok(isKicked());
      assert.equal(bus.timers.nextDeadlineNs(), Infinity);
      return { reason: 'kicked' };
    });
    assert.equal(await runTinyGuest(never, hostClock), 'its guest did not come to its end within 5 s');
  });
});

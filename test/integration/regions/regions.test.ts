/** Memory regions that come and go while a vCPU's thread runs a guest that looks at them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { buildVm } from '#arch/x86_64/build-vm.ts';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { MiB } from '#util/bits.ts';
import { clockSince, monotonicNs } from '#util/clock.ts';
import { viewOf } from '#util/struct.ts';
import { tinyKernel } from '../run/tiny-guest.ts';
import { CONTROL, type VcpuData } from './vcpu.ts';

const ROUNDS = 40;
const REGION_BYTES = 2 * MiB;
/** Above RAM, inside the boot page tables. */
const REGION_ADDRESS = 0xd000_0000;
/** What the guest has read from the region last, and how often it has. */
const MAILBOX = { VALUE: 0x80_0000, COUNT: 0x80_0004 } as const;
const NOBODY = 0xffff_ffff;
/** mov ebx, REGION_ADDRESS; mov ecx, MAILBOX.VALUE. */
const SET_UP = 'bb000000d0 b900008000';
/** mov eax,[rbx]; mov [rcx],eax; inc dword [rcx+4]; jmp back. */
const LOOK_FOR_EVER = '8b03 8901 ff4104 ebf7';
/** mov eax,[rbx]; mov [rcx],eax; inc dword [rcx+4]; mov dx,0x500; in al,dx; jmp back. */
const LOOK_AND_ASK = '8b03 8901 ff4104 66ba0005 ec ebf2';

/** A guest of such code in a thread of its own. */
class RunningGuest implements AsyncDisposable {
  readonly #owned = new DisposableStack();
  readonly control = new Int32Array(new SharedArrayBuffer(CONTROL.WORDS * Int32Array.BYTES_PER_ELEMENT));
  readonly machine: ReturnType<typeof buildVm>;
  readonly #worker: Worker;
  readonly #reason: Promise<unknown[]>;
  #hasEnded = false;

  constructor(code: string) {
    const folder = mkdtempSync(join(tmpdir(), 'crosvm-regions-'));
    this.#owned.defer(() => rmSync(folder, { recursive: true }));
    const kernelPath = join(folder, 'kernel');
    writeFileSync(kernelPath, tinyKernel([SET_UP, code]));
    const components = {
      kernelPath,
      initrdPaths: [],
      memorySizeBytes: 32 * MiB,
      cpuCount: 1,
      consolePort: undefined,
      params: [],
      version: 'test',
      regionRoomBytes: 2 * REGION_BYTES,
    };
    this.machine = this.#owned.use(buildVm(components, softwareHypervisor, clockSince(monotonicNs())));
    const { vm, vcpuStates } = this.machine;
    const data: VcpuData = { vm: vm.describe(), state: vcpuStates[0] as VcpuData['state'], control: this.control };
    this.#worker = new Worker(new URL('./vcpu.ts', import.meta.url), { workerData: data });
    this.#reason = once(this.#worker, 'message');
    this.#worker.once('exit', () => {
      this.#hasEnded = true;
    });
  }

  /** What the guest reads in a look that begins after this call. */
  async look(): Promise<number> {
    const { memory } = this.machine;
    const before = memory.readU32(MAILBOX.COUNT);
    // The first may be of a look that had begun.
    while ((memory.readU32(MAILBOX.COUNT) - before) >>> 0 < 2) {
      assert.ok(!this.#hasEnded, 'the thread runs');
      await setTimeout(1);
    }
    return memory.readU32(MAILBOX.VALUE);
  }

  /** Returns when the guest asks a device, which does not answer yet. */
  async askedDevice(): Promise<void> {
    while (Atomics.load(this.control, CONTROL.IN_PORT) === 0) {
      assert.ok(!this.#hasEnded, 'the thread runs');
      await setTimeout(1);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    Atomics.store(this.control, CONTROL.GO_ON, 1);
    Atomics.notify(this.control, CONTROL.GO_ON);
    this.machine.vm.kick(0);
    assert.deepEqual(await this.#reason, ['kicked']);
    await this.#worker.terminate();
    this.#owned.dispose();
  }
}

/** Memory of a file whose first word is `value`. */
function memoryOf(value: number): SharedMemory {
  const memory = SharedMemory.create('region', REGION_BYTES);
  using mapping = memory.map();
  viewOf(mapping.bytes).setUint32(0, value, true);
  return memory;
}

describe('memory regions while the guest runs', { timeout: 60_000 }, () => {
  test('come at once, are gone when the removal returns, and leave their file to others', async () => {
    await using guest = new RunningGuest(LOOK_FOR_EVER);
    const { vm, memory } = guest.machine;
    assert.equal(await guest.look(), NOBODY);
    for (let round = 1; round <= ROUNDS; round++) {
      using file = memoryOf(round);
      using mapping = file.map();
      const region = {
        guestAddress: REGION_ADDRESS,
        sizeBytes: REGION_BYTES,
        fileOffset: 0,
        readOnly: round % 2 === 0,
      };
      const slot = vm.addMemoryRegion({ ...region, fd: file.fd });
      assert.equal(await guest.look(), round);
      vm.removeMemoryRegion(slot);
      // Whoever looked on would see this.
      viewOf(mapping.bytes).setUint32(0, 0xdead_0000, true);
      assert.equal(await guest.look(), NOBODY);
      assert.notEqual(memory.readU32(MAILBOX.VALUE), 0xdead_0000);
    }
  });

  test('are removed while the processor waits for a device', async () => {
    await using guest = new RunningGuest(LOOK_AND_ASK);
    const { vm, memory } = guest.machine;
    using file = memoryOf(7);
    const region = { guestAddress: REGION_ADDRESS, sizeBytes: REGION_BYTES, fileOffset: 0, readOnly: false };
    const slot = vm.addMemoryRegion({ ...region, fd: file.fd });
    await guest.askedDevice();
    vm.removeMemoryRegion(slot);
    Atomics.store(guest.control, CONTROL.GO_ON, 1);
    Atomics.notify(guest.control, CONTROL.GO_ON);
    assert.equal(await guest.look(), NOBODY);
    assert.ok(memory.readU32(MAILBOX.COUNT) > 1);
  });
});

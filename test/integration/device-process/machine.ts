/** What device processes need of a machine, without a guest: memory, addresses, a router of interrupts, a disk image. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '#devices/virtio/testing/fakes.ts';
import type { IrqRouter } from '#hypervisor/irq-router.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { SystemAllocator } from '#resources/system-allocator.ts';
import type { Fd } from '#sys/fd.ts';
import { GiB, MiB } from '#util/bits.ts';
import type { Log } from '#util/log.ts';
import type { DiskConfig } from '#vmm/config.ts';
import type { DeviceSetOptions } from '#vmm/devices/device-set.ts';
import type { WantedDevices } from '#vmm/devices/start-warden.ts';
import { Policies } from '#vmm/policies.ts';

export const MEMORY_BYTES = MiB;
export const DISK_BYTES = MiB;

export interface TestMachineOptions {
  readonly memoryBytes?: number;
  /** What the machine has instead of one raw disk, or besides; gets its folder. */
  readonly wanted?: (machine: TestMachine) => Partial<WantedDevices>;
}

/** The object owns its memory, its folder and the interrupts' descriptors. */
export class TestMachine implements Disposable {
  readonly memory: GuestMemory;
  readonly folder = mkdtempSync(join(tmpdir(), 'crosvm-device-process-'));
  readonly diskPath = join(this.folder, 'disk');
  /** Messages by GSI, and the eventfds that send them. */
  readonly routes = new Map<number, { readonly address: number; readonly data: number }>();
  readonly irqfds = new Map<number, Fd>();

  readonly #wanted: TestMachineOptions['wanted'];

  constructor({ memoryBytes = MEMORY_BYTES, wanted }: TestMachineOptions = {}) {
    this.memory = GuestMemory.create([{ start: 0, sizeBytes: memoryBytes }]);
    this.#wanted = wanted;
    writeFileSync(this.diskPath, new Uint8Array(DISK_BYTES));
  }

  options({ sandbox = true, readOnly = false, logsFailures = false } = {}): DeviceSetOptions {
    const { memory } = this;
    const logOf = (): Log => silentLog;
    const allocator = new SystemAllocator({
      lowMmio: { start: 3 * GiB, sizeBytes: GiB / 2 },
      highMmio: { start: 4 * GiB, sizeBytes: GiB },
      ioPorts: { start: 0xc000, sizeBytes: 0x1000 },
      gsis: { first: 24, count: 64 },
    });
    return {
      memory,
      allocator,
      irqRouter: this.#irqRouter(),
      disks: [this.disk(this.diskPath, readOnly)],
      nets: [],
      serial: [],
      ...this.#wanted?.(this),
      policies: sandbox ? new Policies({ seccompLogFailures: logsFailures }) : undefined,
      logLevel: 'warn',
      logOf,
    };
  }

  [Symbol.dispose](): void {
    for (const fd of this.irqfds.values()) fd.close();
    this.memory.close();
    rmSync(this.folder, { recursive: true });
  }

  disk(path: string, readOnly = false): DiskConfig {
    return {
      path,
      format: undefined,
      readOnly,
      root: false,
      sparse: true,
      blockSizeBytes: 512,
      id: 'test',
      lock: true,
    };
  }

  #irqRouter(): IrqRouter {
    return {
      addIrqfd: (gsi, irqfd) => void this.irqfds.set(gsi, irqfd),
      setMsiRoute: (gsi, address, data) => void this.routes.set(gsi, { address, data }),
      waiting: undefined,
      turn: () => {},
      [Symbol.dispose]: () => {},
    };
  }
}

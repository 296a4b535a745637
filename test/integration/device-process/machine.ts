/** What device processes need of a machine, without a guest: memory, addresses, a router of interrupts, a disk image, a directory. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '#devices/virtio/testing/fakes.ts';
import type { IrqRouter } from '#hypervisor/irq-router.ts';
import type { MemoryRegion } from '#hypervisor/memory-region.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { SystemAllocator } from '#resources/system-allocator.ts';
import { Fd } from '#sys/fd.ts';
import { tryAccept } from '#sys/socket.ts';
import { GiB, MiB } from '#util/bits.ts';
import type { Log } from '#util/log.ts';
import type { DeviceSetOptions } from '#vmm/devices/device-set.ts';
import type { WantedDevices } from '#vmm/devices/start-warden.ts';
import type { DiskConfig } from '#vmm/disk-config.ts';
import type { SharedDirConfig } from '#vmm/fs-config.ts';
import type { InputConfig } from '#vmm/input-config.ts';
import { openPmemImages, type PmemImage } from '#vmm/pmem-image.ts';
import { Policies } from '#vmm/policies.ts';
import { UnixListener } from '#vmm/unix-listener.ts';

export const MEMORY_BYTES = MiB;
export const DISK_BYTES = MiB;
/** No whole pages. */
export const PMEM_BYTES = 5000;

export interface TestMachineOptions {
  readonly memoryBytes?: number;
  /** What the machine has instead of one raw disk and one keyboard, or besides; gets its folder. */
  readonly wanted?: (machine: TestMachine) => Partial<WantedDevices>;
}

/** The object owns its memory, its folder and the interrupts' descriptors. */
export class TestMachine implements Disposable {
  readonly memory: GuestMemory;
  readonly folder = mkdtempSync(join(tmpdir(), 'crosvm-device-process-'));
  readonly diskPath = join(this.folder, 'disk');
  readonly pmemPath = join(this.folder, 'pmem');
  readonly sharedPath = join(this.folder, 'shared');
  /** Where the events of a keyboard come from. */
  readonly #events = new UnixListener(join(this.folder, 'events'));
  /** Messages by GSI, and the eventfds that send them. */
  readonly routes = new Map<number, { readonly address: number; readonly data: number }>();
  readonly irqfds = new Map<number, Fd>();
  /** The INTx of the devices, in their order. */
  readonly lines: { readonly gsi: number; readonly irqfd: Fd; readonly resample: Fd }[] = [];
  /** The interrupts of devices in other processes that are edge-triggered. */
  readonly edges: { readonly gsi: number; readonly irqfd: Fd }[] = [];
  /** What was put among the guest's addresses, by slot; the descriptors are closed by whoever gave them. */
  readonly regions = new Map<number, MemoryRegion>();
  readonly memoryRegions: DeviceSetOptions['memoryRegions'] = {
    addMemoryRegion: (region) => {
      const slot = this.#slots++;
      this.regions.set(slot, region);
      return slot;
    },
    removeMemoryRegion: (slot) => void this.regions.delete(slot),
  };
  #slots = 0;
  readonly #owned = new DisposableStack();
  #pmemImages: readonly PmemImage[] = [];

  readonly #wanted: TestMachineOptions['wanted'];

  constructor({ memoryBytes = MEMORY_BYTES, wanted }: TestMachineOptions = {}) {
    this.memory = GuestMemory.create([{ start: 0, sizeBytes: memoryBytes }]);
    this.#wanted = wanted;
    this.emptySharedDir();
    writeFileSync(this.diskPath, new Uint8Array(DISK_BYTES));
  }

  /** Connections of devices that were made before are closed: no more than 128 can wait. `pmem`: with persistent memory, of a file of its own. */
  options({ sandbox = true, readOnly = false, pmem = false, logsFailures = false } = {}): DeviceSetOptions {
    const { memory } = this;
    for (let fd = tryAccept(this.#events.fd); fd !== undefined; fd = tryAccept(this.#events.fd)) new Fd(fd).close();
    const logOf = (): Log => silentLog;
    const allocator = new SystemAllocator({
      lowMmio: { start: 3 * GiB, sizeBytes: GiB / 2 },
      highMmio: { start: 4 * GiB, sizeBytes: 4 * GiB },
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
      inputs: this.#wanted === undefined ? [this.keyboard()] : [],
      sharedDirs: [this.#sharedDir()],
      ...this.#wanted?.(this),
      pmemImages: pmem ? this.#pmem() : [],
      memoryRegions: this.memoryRegions,
      policies: sandbox ? new Policies({ seccompLogFailures: logsFailures }) : undefined,
      logLevel: 'warn',
      logOf,
    };
  }

  /** Leaves one file in it. */
  emptySharedDir(): void {
    rmSync(this.sharedPath, { recursive: true, force: true });
    mkdirSync(this.sharedPath);
    writeFileSync(join(this.sharedPath, 'file'), 'shared');
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
    for (const fd of this.irqfds.values()) fd.close();
    for (const { irqfd } of this.edges) irqfd.close();
    for (const { irqfd, resample } of this.lines) {
      irqfd.close();
      resample.close();
    }
    this.#events[Symbol.dispose]();
    this.memory.close();
    rmSync(this.folder, { recursive: true });
  }

  keyboard(): InputConfig {
    return { kind: 'keyboard', path: join(this.folder, 'events') };
  }

  #sharedDir(): SharedDirConfig {
    const options = { readOnly: false, cache: 'auto', timeoutSeconds: 5, writeback: false } as const;
    const maps = { uidMap: undefined, gidMap: undefined };
    return { path: this.sharedPath, tag: 'shared', ...options, ...maps };
  }

  disk(path: string, readOnly = false): DiskConfig {
    return {
      option: '--block',
      path,
      format: undefined,
      readOnly,
      root: false,
      sparse: true,
      blockSizeBytes: 512,
      id: 'test',
      lock: true,
      queueCount: 1,
    };
  }

  /** Opened once. */
  #pmem(): readonly PmemImage[] {
    if (this.#pmemImages.length > 0) return this.#pmemImages;
    const path = this.pmemPath;
    writeFileSync(path, new Uint8Array(PMEM_BYTES));
    this.#pmemImages = openPmemImages([{ path, readOnly: false, root: false }], Infinity, this.#owned);
    return this.#pmemImages;
  }

  #irqRouter(): IrqRouter {
    return {
      addIrqfd: (gsi, irqfd) => void this.irqfds.set(gsi, irqfd),
      addEdgeIrqfd: (gsi, irqfd) => void this.edges.push({ gsi, irqfd }),
      addLevelIrqfd: (gsi, irqfd, resample) => void this.lines.push({ gsi, irqfd, resample }),
      setMsiRoute: (gsi, address, data) => void this.routes.set(gsi, { address, data }),
      [Symbol.dispose]: () => {},
    };
  }
}

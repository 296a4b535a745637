import type { HasFd } from '#sys/fd.ts';
import { addressOf } from '#sys/ffi.ts';
import { ioctl, ioctlValue } from '#sys/ioctl.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber, viewOf } from '#util/struct.ts';
import type { IoeventPlace } from '../ioevent-watcher.ts';
import {
  KvmCap,
  type KvmCapName,
  KvmIoctl,
  KvmIoeventfdFlag,
  KvmIrqchip,
  KvmIrqfdFlag,
  KvmIrqRouting,
  KvmMem,
  KvmPit,
} from './abi.ts';
import {
  ClockData,
  DirtyLog,
  EnableCap,
  Ioeventfd,
  Irqfd,
  IrqLevel,
  IrqRouting,
  IrqRoutingIrqchip,
  IrqRoutingMsi,
  Msi,
  PitConfig,
  UserspaceMemoryRegion,
} from './abi-structs.ts';

/** Guest-physical addresses that are memory of this process. */
export interface MemorySlot {
  readonly slot: number;
  /** Whole pages. */
  readonly guestAddress: number;
  /** Whole pages. */
  readonly sizeBytes: number;
  /** Where it is mapped in this process, for as long as the slot is there. */
  readonly hostAddress: number;
  /** What the guest writes leaves the processor as a device's access. */
  readonly readOnly?: boolean;
  /** `dirtyLog` tells of the pages that the guest writes. */
  readonly logsDirtyPages?: boolean;
}

/** Where a write signals an eventfd. */
export interface KvmIoeventPlace extends IoeventPlace {
  /** 1, 2, 4 or 8; 0 for a write of any length, which needs KVM_CAP_IOEVENTFD_ANY_LENGTH. */
  readonly sizeBytes: number;
  /** Only writes of this value; any by default. */
  readonly value?: bigint;
}

/** What a GSI does: drives a pin of a chip in the kernel, or sends a message. */
export type GsiRoute =
  | { readonly gsi: number; readonly chip: keyof typeof KvmIrqchip; readonly pin: number }
  | { readonly gsi: number; readonly address: number; readonly data: number };

/** A VM of KVM, by its descriptor, in whichever thread of the process that made it. Its calls throw SyscallError. */
export class KvmVmFd implements Disposable {
  readonly #fd: HasFd & Partial<Disposable>;
  readonly #level = new Uint8Array(IrqLevel.size);
  readonly #levelView = viewOf(this.#level);
  readonly #msi = new Uint8Array(Msi.size);
  readonly #msiView = viewOf(this.#msi);

  /** Takes over an Fd; what has no `Symbol.dispose` stays another's. */
  constructor(fd: HasFd & Partial<Disposable>) {
    this.#fd = fd;
  }

  get fd(): number {
    return this.#fd.fd;
  }

  enable(name: KvmCapName, ...values: readonly number[]): void {
    const args = Array.from({ length: 4 }, (_, index) => values[index] ?? 0);
    ioctl(this.fd, KvmIoctl.ENABLE_CAP, EnableCap.encode({ cap: KvmCap[name], args }));
  }

  /** The three pages that an Intel processor needs for real mode, below 4 GiB, where the guest has nothing else. */
  setTssAddress(address: number): void {
    ioctlValue(this.fd, KvmIoctl.SET_TSS_ADDR, address);
  }

  /** The page of the identity map, for the same. Before the first vCPU. */
  setIdentityMapAddress(address: number): void {
    const value = new Uint8Array(u64AsNumber.size);
    u64AsNumber.set(viewOf(value), 0, address);
    ioctl(this.fd, KvmIoctl.SET_IDENTITY_MAP_ADDR, value);
  }

  /** PICs, I/O APIC and local APICs in the kernel. Before the first vCPU. */
  createIrqchip(): void {
    ioctlValue(this.fd, KvmIoctl.CREATE_IRQCHIP);
  }

  /** The timer of the PC in the kernel, and port 0x61. After `createIrqchip`. */
  createPit(): void {
    ioctl(this.fd, KvmIoctl.CREATE_PIT2, PitConfig.encode({ flags: KvmPit.SPEAKER_DUMMY }));
  }

  /** Adds or changes a slot; one of no bytes is taken away. When this returns, no vCPU reaches what was there before. */
  setMemory({ slot, guestAddress, sizeBytes, hostAddress, readOnly, logsDirtyPages }: MemorySlot): void {
    const flags = (readOnly ? KvmMem.READONLY : 0) | (logsDirtyPages ? KvmMem.LOG_DIRTY_PAGES : 0);
    const region = { slot, flags, guestPhysAddr: guestAddress, memorySize: sizeBytes, userspaceAddr: hostAddress };
    ioctl(this.fd, KvmIoctl.SET_USER_MEMORY_REGION, UserspaceMemoryRegion.encode(region));
  }

  removeMemory(slot: number): void {
    this.setMemory({ slot, guestAddress: 0, sizeBytes: 0, hostAddress: 0 });
  }

  /** A bit for each page of the slot that was written since the last call, which has KVM begin anew. */
  dirtyLog(slot: number, sizeBytes: number): Uint8Array {
    const pages = sizeBytes / PAGE_SIZE_BYTES;
    const bitmap = new Uint8Array(8 * Math.ceil(pages / 64));
    ioctl(this.fd, KvmIoctl.GET_DIRTY_LOG, DirtyLog.encode({ slot, dirtyBitmap: addressOf(bitmap) }));
    return bitmap;
  }

  /** Makes a vCPU, whose APIC id is the index. Returns its descriptor. */
  createVcpu(index: number): number {
    return ioctlValue(this.fd, KvmIoctl.CREATE_VCPU, index);
  }

  /** Drives a GSI that is pins of chips. */
  setIrqLine(gsi: number, asserted: boolean): void {
    IrqLevel.fields.irq.set(this.#levelView, 0, gsi);
    IrqLevel.fields.level.set(this.#levelView, 0, asserted ? 1 : 0);
    ioctl(this.fd, KvmIoctl.IRQ_LINE, this.#level);
  }

  /** Sends a message at once. False when no local APIC has taken it. */
  signalMsi(address: number, data: number): boolean {
    Msi.fields.addressLo.set(this.#msiView, 0, address);
    Msi.fields.data.set(this.#msiView, 0, data);
    return ioctl(this.fd, KvmIoctl.SIGNAL_MSI, this.#msi) > 0;
  }

  /** Signals of `irqfd` are the GSI's interrupt; the kernel keeps the eventfds. With `resample` it is a level, else an edge. */
  addIrqfd(gsi: number, irqfd: number, resample?: number): void {
    const level = resample === undefined ? {} : { flags: KvmIrqfdFlag.RESAMPLE, resamplefd: resample };
    ioctl(this.fd, KvmIoctl.IRQFD, Irqfd.encode({ fd: irqfd, gsi, ...level }));
  }

  removeIrqfd(gsi: number, irqfd: number): void {
    ioctl(this.fd, KvmIoctl.IRQFD, Irqfd.encode({ fd: irqfd, gsi, flags: KvmIrqfdFlag.DEASSIGN }));
  }

  /** All routes at once, instead of those before. */
  setGsiRoutes(routes: readonly GsiRoute[]): void {
    const buffer = new Uint8Array(IrqRouting.size + routes.length * IrqRoutingMsi.size);
    IrqRouting.fields.nr.set(viewOf(buffer), 0, routes.length);
    for (const [index, route] of routes.entries()) {
      buffer.set(encodeRoute(route), IrqRouting.size + index * IrqRoutingMsi.size);
    }
    ioctl(this.fd, KvmIoctl.SET_GSI_ROUTING, buffer);
  }

  /** From now on a write at the place signals the eventfd and does nothing else. */
  addIoevent(place: KvmIoeventPlace, eventFd: number): void {
    ioctl(this.fd, KvmIoctl.IOEVENTFD, encodeIoevent(place, eventFd, 0));
  }

  removeIoevent(place: KvmIoeventPlace, eventFd: number): void {
    ioctl(this.fd, KvmIoctl.IOEVENTFD, encodeIoevent(place, eventFd, KvmIoeventfdFlag.DEASSIGN));
  }

  /** The paravirtual clock, in nanoseconds. */
  clockNs(): bigint {
    const data = new Uint8Array(ClockData.size);
    ioctl(this.fd, KvmIoctl.GET_CLOCK, data);
    return ClockData.fields.clock.get(viewOf(data), 0);
  }

  setClockNs(clock: bigint): void {
    ioctl(this.fd, KvmIoctl.SET_CLOCK, ClockData.encode({ clock }));
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]?.();
  }
}

function encodeRoute(route: GsiRoute): Uint8Array {
  if ('chip' in route) {
    const { gsi, chip, pin } = route;
    return IrqRoutingIrqchip.encode({ gsi, type: KvmIrqRouting.IRQCHIP, irqchip: KvmIrqchip[chip], pin });
  }
  const { gsi, address, data } = route;
  assert(address < 2 ** 32, 'messages of interrupts go below 4 GiB');
  return IrqRoutingMsi.encode({ gsi, type: KvmIrqRouting.MSI, addressLo: address, data });
}

function encodeIoevent({ space, address, sizeBytes, value }: KvmIoeventPlace, fd: number, flags: number): Uint8Array {
  return Ioeventfd.encode({
    addr: address,
    len: sizeBytes,
    fd,
    flags: flags | (space === 'io' ? KvmIoeventfdFlag.PIO : 0) | (value === undefined ? 0 : KvmIoeventfdFlag.DATAMATCH),
    ...(value !== undefined && { datamatch: value }),
  });
}

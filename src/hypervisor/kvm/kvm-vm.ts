import { GuestMemory, type GuestMemoryDescription } from '#memory/guest-memory.ts';
import { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import type { Clock } from '#util/clock.ts';
import type { Logger } from '#util/log.ts';
import { carver } from '#util/state-words.ts';
import type { IrqRouter } from '../irq-router.ts';
import type { MemoryRegion } from '../memory-region.ts';
import type { AttachOptions, Hypervisor, Vcpu, VcpuBus, Vm, VmDescription, VmOptions } from '../vm.ts';
import type { KvmCapName } from './abi.ts';
import { guestCpuid, physicalAddressBits } from './cpuid.ts';
import { KVM_DEBUG_FEATURES } from './debug-registers.ts';
import { GsiRoutes, pinRoutes } from './gsi-routes.ts';
import { Kicks } from './kicks.ts';
import { KvmClock } from './kvm-clock.ts';
import { KvmDevice } from './kvm-device.ts';
import { KvmError } from './kvm-error.ts';
import { KvmIoevents } from './kvm-ioevents.ts';
import { KvmIrqChip } from './kvm-irq-chip.ts';
import { KvmIrqRouter } from './kvm-irq-router.ts';
import { KvmMemory } from './kvm-memory.ts';
import { KvmVcpu } from './kvm-vcpu.ts';
import { KvmVcpuFd } from './kvm-vcpu-fd.ts';
import { KvmVmFd } from './kvm-vm-fd.ts';

const KIND = 'kvm';

/** Without these no machine of ours runs. */
export const REQUIRED_CAPABILITIES: readonly KvmCapName[] = [
  'USER_MEMORY',
  'DESTROY_MEMORY_REGION_WORKS',
  'IRQCHIP',
  'EXT_CPUID',
  'MP_STATE',
  'IRQ_ROUTING',
  'IRQFD',
  'IRQFD_RESAMPLE',
  'IOEVENTFD',
  'PIT2',
  'SIGNAL_MSI',
];

/** Pages of the TSS, after that of the identity map. */
const PAGE_BYTES = 4096;

interface KvmVmDescription extends VmDescription {
  readonly kind: typeof KIND;
  readonly memory: GuestMemoryDescription;
  /** The main thread's. */
  readonly vmFd: number;
  readonly vcpuFds: readonly number[];
  readonly runSizeBytes: number;
  /** Whether ioeventfds can take writes of any size. */
  readonly watchesWrites: boolean;
  /** Flags of KVM_SET_GUEST_DEBUG that KVM says it has. */
  readonly debugFlags: number;
  /** Shared by all threads: what KvmIrqChip, GsiRoutes and Kicks need. */
  readonly words: Int32Array;
}

interface Parts {
  readonly memory: GuestMemory;
  readonly vm: KvmVmFd;
  readonly vcpuFds: readonly number[];
  readonly runSizeBytes: number;
  readonly watchesWrites: boolean;
  readonly debugFlags: number;
  readonly words: Int32Array;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  /** What the thread has that made the VM; undefined in others. */
  readonly own: { readonly memory: KvmMemory; readonly clocks: KvmClock; readonly owned: Disposable } | undefined;
}

/** A VM of KVM as one thread sees it. What its threads share is in the kernel, but for a few words. */
class KvmVm implements Vm {
  readonly memory: GuestMemory;
  readonly irqChip: KvmIrqChip;
  readonly ioeventWatcher?: KvmIoevents;
  readonly #parts: Parts;
  readonly #routes: GsiRoutes;
  readonly #kicks: Kicks;

  constructor(parts: Parts) {
    const { vm, words, vcpuFds } = parts;
    this.#parts = parts;
    this.memory = parts.memory;
    if (parts.watchesWrites) this.ioeventWatcher = new KvmIoevents(vm);
    const carve = carver(words);
    this.irqChip = new KvmIrqChip(carve(KvmIrqChip.WORDS), vm);
    this.#routes = new GsiRoutes(carve(GsiRoutes.WORDS), vm, pinRoutes());
    this.#kicks = new Kicks(carve(Kicks.words(vcpuFds.length)));
  }

  createVcpu(index: number, bus: VcpuBus): Vcpu {
    const { vcpuFds, runSizeBytes, debugFlags, clock, log } = this.#parts;
    const fd = vcpuFds[index];
    assert(fd !== undefined, 'a vCPU of this VM');
    const vcpu = new KvmVcpuFd({ fd });
    const shared = { kicks: this.#kicks, memory: this.memory };
    return new KvmVcpu({ index, vcpu, runSizeBytes, debugFlags, bus, clock, log, ...shared });
  }

  kick(index: number): void {
    assert(index >= 0 && index < this.#parts.vcpuFds.length, 'a vCPU of this VM');
    this.#kicks.kick(index);
  }

  createIrqRouter(): IrqRouter {
    return new KvmIrqRouter(this.#parts.vm, this.#routes);
  }

  addMemoryRegion(region: MemoryRegion): number {
    return this.#own().memory.add(region);
  }

  removeMemoryRegion(slot: number): void {
    this.#own().memory.remove(slot);
  }

  stopClocks(): void {
    this.#own().clocks.stop();
  }

  startClocks(): void {
    this.#own().clocks.start();
  }

  describe(): KvmVmDescription {
    const { vm, vcpuFds, runSizeBytes, watchesWrites, debugFlags, words } = this.#parts;
    const memory = this.memory.describe();
    return { kind: KIND, memory, vmFd: vm.fd, vcpuFds, runSizeBytes, watchesWrites, debugFlags, words };
  }

  [Symbol.dispose](): void {
    const { own } = this.#parts;
    if (own === undefined) this.memory[Symbol.dispose]();
    else own.owned[Symbol.dispose]();
  }

  #own(): NonNullable<Parts['own']> {
    const { own } = this.#parts;
    assert(own !== undefined, 'in the thread that made the VM');
    return own;
  }
}

function createVm({ memory, vcpuCount, clock, log, spareAddress }: VmOptions): Vm {
  using device = KvmDevice.open();
  device.require(REQUIRED_CAPABILITIES);
  const { vcpusMax } = device;
  if (vcpuCount > vcpusMax) {
    throw new KvmError('REFUSED', `this host's KVM gives a virtual machine at most ${vcpusMax} CPUs, not ${vcpuCount}`);
  }
  using owned = new DisposableStack();
  const vm = owned.use(device.createVm());
  if (spareAddress !== undefined) {
    if (device.capability('SET_IDENTITY_MAP_ADDR') > 0) vm.setIdentityMapAddress(spareAddress);
    if (device.capability('SET_TSS_ADDR') > 0) vm.setTssAddress(spareAddress + PAGE_BYTES);
  }
  vm.createIrqchip();
  vm.createPit();
  const slots = owned.use(new KvmMemory(vm, memory, device.capability('NR_MEMSLOTS')));
  const supported = device.supportedCpuid();
  const tscDeadline = device.capability('TSC_DEADLINE_TIMER') > 0;
  const vcpuFds = Array.from({ length: vcpuCount }, (_, vcpuIndex) => {
    const vcpu = new KvmVcpuFd(owned.use(new Fd(vm.createVcpu(vcpuIndex))));
    vcpu.setCpuid(guestCpuid(supported, { vcpuIndex, vcpuCount, tscDeadline }));
    return vcpu.fd;
  });
  const wordCount = KvmIrqChip.WORDS + GsiRoutes.WORDS + Kicks.words(vcpuCount);
  const clocks = new KvmClock(
    vm,
    vcpuFds.map((fd) => new KvmVcpuFd({ fd })),
  );
  return new KvmVm({
    memory,
    vm,
    vcpuFds,
    runSizeBytes: device.runSizeBytes,
    watchesWrites: device.capability('IOEVENTFD_ANY_LENGTH') > 0,
    debugFlags: device.capability('SET_GUEST_DEBUG2'),
    words: new Int32Array(new SharedArrayBuffer(wordCount * Int32Array.BYTES_PER_ELEMENT)),
    clock,
    log,
    own: { memory: slots, clocks, owned: owned.move() },
  });
}

function attachVm(description: VmDescription, { clock, log }: AttachOptions): Vm {
  assert(isKvm(description), 'a description of this hypervisor');
  const memory = GuestMemory.borrowing(description.memory.fd, description.memory.regions);
  const vm = new KvmVmFd({ fd: description.vmFd });
  return new KvmVm({ ...description, memory, vm, clock, log, own: undefined });
}

let addressBits: number | undefined;

function hostAddressBits(): number {
  using device = KvmDevice.open();
  return physicalAddressBits(device.supportedCpuid());
}

/** Runs guests on the host's processor, by the kernel. */
export const kvmHypervisor: Hypervisor = {
  name: KIND,
  /** Throws SyscallError when /dev/kvm does not open. */
  get physicalAddressBits(): number {
    addressBits ??= hostAddressBits();
    return addressBits;
  },
  debug: KVM_DEBUG_FEATURES,
  regionRoomBytesMax: (ramEnd) => 2 ** kvmHypervisor.physicalAddressBits - ramEnd,
  createVm,
  attachVm,
  async loadVcpus(): Promise<void> {},
};

function isKvm(description: VmDescription): description is KvmVmDescription {
  return description.kind === KIND;
}

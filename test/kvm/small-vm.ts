/** A virtual machine of KVM with a few pages of code, for tests: what its processor asks the bus for is recorded. */
import { closeSync, constants, openSync } from 'node:fs';
import { kvmHypervisor } from '#hypervisor/kvm/kvm-vm.ts';
import type { SegmentRegister, SpecialRegisters, VcpuRegisters } from '#hypervisor/registers.ts';
import type { Vcpu, VcpuBus, VcpuState, Vm } from '#hypervisor/vm.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { hostClock } from '#util/clock.ts';

/** Why KVM's tests do not run here; undefined where they do. */
export function kvmIsAbsent(): string | undefined {
  try {
    closeSync(openSync('/dev/kvm', constants.O_RDWR));
    return undefined;
  } catch (error) {
    return `/dev/kvm does not open: ${(error as NodeJS.ErrnoException).code}`;
  }
}

/** For the `skip` of a test. */
export const skip = kvmIsAbsent() ?? false;

export const CODE_ADDRESS = 0x1000;
/** RAM ends here. */
export const RAM_BYTES = 0x10_0000;
/** No RAM is there. */
export const NO_RAM = 0x20_0000;

const GENERAL = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const;
const EXTENDED = ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;

export function registers(values: Partial<VcpuRegisters>): VcpuRegisters {
  const zeros = Object.fromEntries([...GENERAL, ...EXTENDED].map((name) => [name, 0n]));
  return { ...zeros, rip: BigInt(CODE_ADDRESS), rflags: 2n, ...values } as VcpuRegisters;
}

function segment(values: Partial<SegmentRegister>): SegmentRegister {
  return {
    selector: 0,
    base: 0n,
    limit: 0xffff,
    type: 3,
    codeOrData: true,
    dpl: 0,
    present: true,
    available: false,
    longMode: false,
    defaultBig: false,
    granular: false,
    unusable: false,
    ...values,
  };
}

function specials(code: SegmentRegister, data: SegmentRegister, control: Partial<SpecialRegisters>): SpecialRegisters {
  return {
    cs: code,
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    tr: segment({ type: 11, codeOrData: false }),
    ldt: segment({ type: 2, codeOrData: false }),
    gdt: { base: 0n, limit: 0xffff },
    idt: { base: 0n, limit: 0x3ff },
    cr0: 0x10n,
    cr2: 0n,
    cr3: 0n,
    cr4: 0n,
    cr8: 0n,
    efer: 0n,
    apicBase: 0xfee0_0900n,
    ...control,
  };
}

/** Segments of 64 KiB from address 0 on; the stack is below the code. */
export function realMode(values: Partial<VcpuRegisters> = {}): VcpuState {
  const special = specials(segment({ type: 11 }), segment({}), {});
  return stateOf(special, values);
}

const FLAT = { limit: 0xffff_ffff, granular: true } as const;

/** Flat segments of 4 GiB, without paging. */
export function protectedMode(values: Partial<VcpuRegisters> = {}): VcpuState {
  const code = segment({ ...FLAT, selector: 8, type: 11, defaultBig: true });
  const data = segment({ ...FLAT, selector: 16, defaultBig: true });
  return stateOf(specials(code, data, { cr0: 0x11n }), values);
}

/** 64-bit mode; the tables, which `writePageTables` has made, map the first GiB to itself. */
export function longMode(values: Partial<VcpuRegisters> = {}): VcpuState {
  const code = segment({ ...FLAT, selector: 8, type: 11, longMode: true });
  const data = segment({ ...FLAT, selector: 16, defaultBig: true });
  const control = { cr0: 0x8000_0011n, cr3: BigInt(PAGE_TABLES), cr4: 0x20n, efer: 0x500n };
  return stateOf(specials(code, data, control), values);
}

const PAGE_TABLES = 0x8000;

/** One page of each level, and pages of 2 MiB. */
export function writePageTables(memory: GuestMemory): void {
  const [pml4, pointers, directory] = [PAGE_TABLES, PAGE_TABLES + 0x1000, PAGE_TABLES + 0x2000];
  memory.writeU64(pml4, BigInt(pointers) | 3n);
  memory.writeU64(pointers, BigInt(directory) | 3n);
  for (let entry = 0; entry < 512; entry++) memory.writeU64(directory + 8 * entry, (BigInt(entry) << 21n) | 0x83n);
}

/** The local APIC takes interrupts of the PICs and messages. */
const LOCAL_APIC = [
  { offset: 0xf0, value: 0x1ff },
  { offset: 0x350, value: 0x700 },
];

function stateOf(special: SpecialRegisters, values: Partial<VcpuRegisters>): VcpuState {
  const general = registers({ rsp: BigInt(CODE_ADDRESS), ...values });
  return { general, special, fpu: { fcw: 0x37f, mxcsr: 0x1f80 }, msrs: [], localApic: LOCAL_APIC };
}

/** The bus of a test: notes every access, and answers reads with the bytes of `answer`. */
export class RecordingBus implements VcpuBus {
  readonly accesses: string[] = [];
  flushes = 0;
  answer = 0;
  onAccess: (access: string) => void = () => {};
  /** When `onLate` is called, of `hostClock`. */
  lateNs = Infinity;
  onLate: () => void = () => {};
  readonly timers = {
    nextDeadlineNs: () => this.lateNs,
    advance: () => {
      this.lateNs = Infinity;
      this.onLate();
    },
  };

  readPort(port: number, data: Uint8Array): void {
    this.#answer(data);
    this.#note(`in ${port.toString(16)} ${data.length}`);
  }

  writePort(port: number, data: Uint8Array): void {
    this.#note(`out ${port.toString(16)} ${hex(data)}`);
  }

  readMmio(address: number, data: Uint8Array): void {
    this.#answer(data);
    this.#note(`read ${address.toString(16)} ${data.length}`);
  }

  writeMmio(address: number, data: Uint8Array): void {
    this.#note(`write ${address.toString(16)} ${hex(data)}`);
  }

  flush(): void {
    this.flushes++;
  }

  #answer(data: Uint8Array): void {
    for (let index = 0; index < data.length; index++) data[index] = this.answer >>> (8 * index);
  }

  #note(access: string): void {
    this.accesses.push(access);
    this.onAccess(access);
  }
}

const hex = (data: Uint8Array): string =>
  [...data]
    .reverse()
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');

/** Far longer than any test's code takes, also on a loaded machine. */
const LIMIT_NS = 10e9;

/** A machine of one processor, which has run nothing. */
export class SmallVm implements Disposable {
  readonly memory: GuestMemory;
  readonly vm: Vm;
  readonly bus = new RecordingBus();
  readonly vcpu: Vcpu;
  readonly #owned = new DisposableStack();

  constructor(code: readonly number[], state: VcpuState = realMode()) {
    this.memory = this.#owned.use(GuestMemory.create([{ start: 0, sizeBytes: RAM_BYTES }]));
    this.memory.writeBytes(CODE_ADDRESS, Uint8Array.from(code));
    const spareAddress = 0xfeff_c000;
    const options = { memory: this.memory, vcpuCount: 1, clock: hostClock, spareAddress };
    this.vm = this.#owned.use(kvmHypervisor.createVm(options));
    this.vcpu = this.#owned.use(this.vm.createVcpu(0, this.bus));
    this.vcpu.setState(state);
  }

  /** Runs it until this access, after which it is kicked. */
  runTo(last: string): void {
    let isLate = false;
    this.bus.lateNs = hostClock.nowNs() + LIMIT_NS;
    this.bus.onLate = () => {
      isLate = true;
      this.vm.kick(0);
    };
    this.bus.onAccess = (access) => {
      if (access === last) this.vm.kick(0);
    };
    const exit = this.vcpu.run();
    this.bus.lateNs = Infinity;
    if (exit.reason !== 'kicked') throw new Error(`the vCPU stopped: ${exit.reason}: ${exit.detail}`);
    if (isLate) throw new Error(`no "${last}" came; there were: ${this.bus.accesses.join(', ')}`);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

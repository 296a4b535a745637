import type { GuestMemory } from '#memory/guest-memory.ts';
import { BlockedSignals, changeSignalMask, MaskChange } from '#sys/signal.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { ThreadTimer } from '#sys/thread-timer.ts';
import type { Clock } from '#util/clock.ts';
import type { Logger } from '#util/log.ts';
import { u32, viewOf } from '#util/struct.ts';
import { debugExit } from '../debug.ts';
import type { Vcpu, VcpuBus, VcpuExit, VcpuState } from '../vm.ts';
import { KvmExit, KvmSystemEvent } from './abi.ts';
import { Run, RunSystemEvent } from './abi-structs.ts';
import { failEntryText, internalErrorText, stateText } from './failure.ts';
import { KICK_SIGNAL, type Kicks } from './kicks.ts';
import { KvmDebug } from './kvm-debug.ts';
import { sregsOf } from './kvm-state.ts';
import { type KvmVcpuFd, VcpuPart } from './kvm-vcpu-fd.ts';
import { RunPage } from './run-page.ts';

/** What devices hold back is passed on so long after the first access at the latest. */
const FLUSH_NS = 1e6;

const KICKED: VcpuExit = { reason: 'kicked' };

export interface KvmVcpuOptions {
  readonly index: number;
  readonly vcpu: KvmVcpuFd;
  readonly runSizeBytes: number;
  /** See KvmDebug. */
  readonly debugFlags: number;
  readonly bus: VcpuBus;
  readonly clock: Clock;
  readonly kicks: Kicks;
  readonly memory: GuestMemory;
  readonly log: Logger | undefined;
}

/** A processor of KVM: runs in the calling thread, which sleeps in the kernel while the guest halts. */
export class KvmVcpu implements Vcpu {
  readonly index: number;
  readonly debug: KvmDebug;
  readonly #options: KvmVcpuOptions;
  readonly #vcpu: KvmVcpuFd;
  readonly #page: RunPage;
  readonly #bus: VcpuBus;
  readonly #timer: ThreadTimer;
  readonly #kickSignal = new BlockedSignals([KICK_SIGNAL]);
  readonly #unblocks: boolean;
  /** When the timer has been told to go off for a device. */
  #deadlineNs = Infinity;
  /** Whether the timer will go off within FLUSH_NS. */
  #flushIsDue = false;
  /** It executed HLT, and no local APIC in the kernel could wake it. */
  #isHalted = false;
  #portExits = 0;
  #mmioExits = 0;
  #interruptions = 0;

  /** On the thread that is to run it. Throws SyscallError. */
  constructor(options: KvmVcpuOptions) {
    const { index, vcpu, runSizeBytes, debugFlags, kicks, bus } = options;
    this.index = index;
    this.debug = new KvmDebug(vcpu, debugFlags);
    this.#options = options;
    this.#vcpu = vcpu;
    this.#bus = bus;
    this.#page = new RunPage(vcpu.fd, runSizeBytes);
    const blocked = changeSignalMask(MaskChange.BLOCK, [KICK_SIGNAL]);
    this.#unblocks = !blocked.includes(KICK_SIGNAL);
    vcpu.setSignalMask(blocked.filter((signal) => signal !== KICK_SIGNAL));
    this.#timer = new ThreadTimer(KICK_SIGNAL);
    kicks.enter(index);
  }

  /** Application processors take no more of it than what a reset leaves as it is: they begin at their start-up IPI. */
  setState({ general, special, fpu, msrs, localApic }: VcpuState): void {
    const vcpu = this.#vcpu;
    if (this.index === 0) {
      vcpu.set(VcpuPart.SREGS, sregsOf(special));
      vcpu.set(VcpuPart.REGS, general);
      vcpu.set(VcpuPart.FPU, fpu);
      if (localApic.length > 0) this.#setLocalApic(localApic);
    }
    this.#setMsrs(msrs);
  }

  run(): VcpuExit {
    if (this.#options.kicks.take(this.index)) return KICKED;
    this.#setTimer();
    if (this.#isHalted) return this.#halt();
    const vcpu = this.#vcpu;
    for (;;) {
      const error = vcpu.run();
      const exit = error === 0 ? this.#handleExit() : this.#handleError(error);
      if (exit !== undefined) return exit;
    }
  }

  statistics(): Readonly<Record<string, number>> {
    return { portExits: this.#portExits, mmioExits: this.#mmioExits, interruptions: this.#interruptions };
  }

  [Symbol.dispose](): void {
    this.#options.kicks.leave(this.index);
    this.#timer[Symbol.dispose]();
    this.#page[Symbol.dispose]();
    if (this.#unblocks) changeSignalMask(MaskChange.UNBLOCK, [KICK_SIGNAL]);
  }

  /** Undefined when the guest goes on. */
  #handleExit(): VcpuExit | undefined {
    const page = this.#page;
    switch (page.exitReason) {
      case KvmExit.IO:
        this.#portExits++;
        page.doPortAccess(this.#bus);
        this.#noteAccess();
        return undefined;
      case KvmExit.MMIO:
        this.#mmioExits++;
        page.doMmio(this.#bus);
        this.#noteAccess();
        return undefined;
      case KvmExit.INTR:
        return this.#interrupted();
      case KvmExit.HLT:
        this.#isHalted = true;
        return this.#halt();
      case KvmExit.DEBUG:
        return this.#debugExit();
      case KvmExit.SHUTDOWN:
        return { reason: 'shutdown', detail: 'triple fault' };
      case KvmExit.SYSTEM_EVENT:
        return systemEvent(page);
      case KvmExit.FAIL_ENTRY:
        return this.#failed(failEntryText(page));
      case KvmExit.INTERNAL_ERROR:
        return this.#failed(internalErrorText(page));
      default:
        return this.#failed(`KVM's exit reason ${page.exitReason}, which was not asked for`);
    }
  }

  #debugExit(): VcpuExit | undefined {
    const stop = this.debug.stopOf(this.#page.view);
    return stop && debugExit(stop);
  }

  #handleError(error: number): VcpuExit | undefined {
    if (error === Errno.EINTR) return this.#interrupted();
    // A processor that waited for its start-up IPI has it.
    if (error === Errno.EAGAIN) return undefined;
    return this.#failed(new SyscallError('ioctl KVM_RUN', error).message);
  }

  #failed(cause: string): VcpuExit {
    return {
      reason: 'internal-error',
      detail: `vCPU ${this.index}: ${cause}\n${stateText(this.#vcpu, this.#options.memory)}`,
    };
  }

  /** A kick, or the timer: both come by the same signal. */
  #interrupted(): VcpuExit | undefined {
    this.#interruptions++;
    this.#kickSignal.tryTake();
    if (this.#options.kicks.take(this.index)) return KICKED;
    this.#bus.flush();
    this.#setTimer();
    return undefined;
  }

  #halt(): VcpuExit {
    for (;;) {
      this.#kickSignal.wait();
      if (this.#interrupted() !== undefined) return KICKED;
    }
  }

  /** A device has been asked for something: it may hold back output, or want to be called at another time. */
  #noteAccess(): void {
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    // A device's deadline that comes sooner flushes as well, and must not be put off.
    if (this.#options.clock.nowNs() + FLUSH_NS < this.#deadlineNs) this.#timer.set(FLUSH_NS);
  }

  /** Does what is due, and has the timer go off for what comes next. */
  #setTimer(): void {
    const { timers } = this.#bus;
    const nowNs = this.#options.clock.nowNs();
    if (timers.nextDeadlineNs() <= nowNs) timers.advance(nowNs);
    this.#flushIsDue = false;
    this.#deadlineNs = timers.nextDeadlineNs();
    if (this.#deadlineNs !== Infinity) this.#timer.set(Math.max(1, this.#deadlineNs - nowNs));
  }

  #setLocalApic(registers: VcpuState['localApic']): void {
    const state = this.#vcpu.get(VcpuPart.LAPIC);
    const view = viewOf(state.regs);
    for (const { offset, value } of registers) u32.set(view, offset, value);
    this.#vcpu.set(VcpuPart.LAPIC, state);
  }

  /** A register that this KVM refuses is none that the guest could rely on. */
  #setMsrs(msrs: VcpuState['msrs']): void {
    let left = msrs;
    while (left.length > 0) {
      const done = this.#vcpu.setMsrs(left);
      const refused = left[done];
      if (refused !== undefined) this.#options.log?.warn(`KVM refuses MSR 0x${refused.index.toString(16)}`);
      left = left.slice(done + 1);
    }
  }
}

/** What the guest asks the hypervisor for by a call. */
function systemEvent({ view }: RunPage): VcpuExit {
  const { type } = RunSystemEvent.decode(view, Run.size);
  const name = Object.entries(KvmSystemEvent).find(([, value]) => value === type)?.[0] ?? String(type);
  return { reason: 'shutdown', detail: `the guest called the hypervisor: system event ${name.toLowerCase()}` };
}

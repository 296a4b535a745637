/** A guest of a dozen instructions, to see whether a hypervisor runs anything at all. */
import { bootMsrs, bootRegisters, LOCAL_APIC_BOOT_REGISTERS } from '#arch/x86_64/boot-registers.ts';
import { bootGdt, bootIdt } from '#arch/x86_64/gdt.ts';
import { GDT_ADDRESS, IDT_ADDRESS, KVM_IDENTITY_MAP_ADDRESS } from '#arch/x86_64/layout.ts';
import { identityPageTables } from '#arch/x86_64/page-tables.ts';
import type { Hypervisor, VcpuBus, Vm } from '#hypervisor/vm.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { MiB } from '#util/bits.ts';
import type { Clock } from '#util/clock.ts';

const MEMORY_BYTES = 2 * MiB;
const CODE_ADDRESS = MiB;
const RESULT_PORT = 0x10;
/** It takes well under a millisecond of a processor; a busy host may be late. */
const LIMIT_NS = 5e9;
const ROUNDS = 1000;
const SUM = (ROUNDS * (ROUNDS + 1)) / 2;

/** In 64-bit mode: adds the numbers from ROUNDS down to 1 and writes the sum to the port, again and again. */
const CODE = Uint8Array.of(
  ...[0xb9, ROUNDS & 0xff, ROUNDS >> 8, 0, 0], // mov ecx, ROUNDS
  ...[0x31, 0xc0], // xor eax, eax
  ...[0x48, 0x01, 0xc8], // add rax, rcx
  ...[0xff, 0xc9], // dec ecx
  ...[0x75, 0xf9], // jnz to the addition
  ...[0xe7, RESULT_PORT], // out RESULT_PORT, eax
  ...[0xeb, 0xee], // jmp to the beginning
);

/** Takes the first word that the guest writes, and stops it then, or when it takes too long. */
class ResultBus implements VcpuBus {
  result: number | undefined;
  #deadlineNs: number;
  readonly #stop: () => void;
  readonly timers = {
    nextDeadlineNs: (): number => this.#deadlineNs,
    advance: (nowNs: number): void => {
      if (nowNs < this.#deadlineNs) return;
      this.#deadlineNs = Infinity;
      this.#stop();
    },
  };

  constructor(deadlineNs: number, stop: () => void) {
    this.#deadlineNs = deadlineNs;
    this.#stop = stop;
  }

  writePort(port: number, data: Uint8Array): void {
    if (port !== RESULT_PORT || data.length !== 4) return;
    this.result ??= new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true);
    this.#stop();
  }

  readPort(_port: number, data: Uint8Array): void {
    data.fill(0xff);
  }

  readMmio(_address: number, data: Uint8Array): void {
    data.fill(0xff);
  }

  writeMmio(): void {}

  flush(): void {}
}

/** Makes a machine of one vCPU and runs it on this thread, 5 s at most. Returns what is wrong with it. Throws what the hypervisor does. */
export async function runTinyGuest(hypervisor: Hypervisor, clock: Clock): Promise<string | undefined> {
  await hypervisor.loadVcpus();
  using memory = GuestMemory.create([{ start: 0, sizeBytes: MEMORY_BYTES }]);
  const tables = identityPageTables();
  memory.writeBytes(tables.address, tables.bytes);
  memory.writeBytes(GDT_ADDRESS, bootGdt());
  memory.writeBytes(IDT_ADDRESS, bootIdt());
  memory.writeBytes(CODE_ADDRESS, CODE);
  using vm = hypervisor.createVm({ memory, vcpuCount: 1, clock, spareAddress: KVM_IDENTITY_MAP_ADDRESS });
  return runOn(vm, hypervisor, clock);
}

function runOn(vm: Vm, { physicalAddressBits }: Hypervisor, clock: Clock): string | undefined {
  const bus = new ResultBus(clock.nowNs() + LIMIT_NS, () => vm.kick(0));
  using vcpu = vm.createVcpu(0, bus);
  vcpu.setState({
    ...bootRegisters(CODE_ADDRESS),
    msrs: bootMsrs(physicalAddressBits),
    localApic: LOCAL_APIC_BOOT_REGISTERS,
  });
  const exit = vcpu.run();
  if (exit.reason !== 'kicked') return `its guest stopped: ${exit.reason}: ${exit.detail}`;
  if (bus.result === undefined) return `its guest did not come to its end within ${LIMIT_NS / 1e9} s`;
  return bus.result === SUM ? undefined : `its guest computed ${bus.result} in place of ${SUM}`;
}

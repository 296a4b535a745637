/** What KVM says of a vCPU that cannot go on, for people: the cause, the registers and the code. */
import type { GuestMemory } from '#memory/guest-memory.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { KvmEmulationFlag, KvmInternalError } from './abi.ts';
import { Run, RunEmulationFailure, RunFailEntry } from './abi-structs.ts';
import { type KvmVcpuFd, VcpuPart } from './kvm-vcpu-fd.ts';
import type { RunPage } from './run-page.ts';

const CODE_BYTES = 16;
const REGISTERS_PER_LINE = 4;

const nameOf = (table: Readonly<Record<string, number>>, value: number): string =>
  Object.keys(table).find((name) => table[name] === value) ?? String(value);

const hexBytes = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

const hexWord = (value: bigint): string => value.toString(16).padStart(16, '0');

/** KVM_EXIT_FAIL_ENTRY: the processor refused the guest's state. */
export function failEntryText({ view }: RunPage): string {
  const { hardwareEntryFailureReason, cpu } = RunFailEntry.decode(view, Run.size);
  const reason = `0x${hardwareEntryFailureReason.toString(16)}`;
  return `the processor does not enter the guest: hardware reason ${reason} on host CPU ${cpu}`;
}

/** KVM_EXIT_INTERNAL_ERROR. */
export function internalErrorText(page: RunPage): string {
  const { suberror, flags, insnSize, insnBytes } = RunEmulationFailure.decode(page.view, Run.size);
  const data = page.internalData();
  const words = data.length === 0 ? '' : `; data ${data.map((word) => word.toString(16)).join(' ')}`;
  const hasCode =
    suberror === KvmInternalError.EMULATION &&
    data.length > 0 &&
    (flags & BigInt(KvmEmulationFlag.INSTRUCTION_BYTES)) !== 0n;
  const code = hasCode
    ? `; the instruction that it does not emulate: ${hexBytes(insnBytes.subarray(0, insnSize))}`
    : '';
  return `KVM gives up: ${nameOf(KvmInternalError, suberror)}${code}${words}`;
}

/** The registers and the code that was to run next, several lines. */
export function stateText(vcpu: KvmVcpuFd, memory: GuestMemory): string {
  try {
    const regs = vcpu.get(VcpuPart.REGS);
    const { cs, ss, cr0, cr2, cr3, cr4, efer } = vcpu.get(VcpuPart.SREGS);
    const named = Object.entries({ ...regs, cr0, cr2, cr3, cr4, efer }).map(
      ([name, value]) => `${name} ${hexWord(value)}`,
    );
    const lines: string[] = [];
    for (let at = 0; at < named.length; at += REGISTERS_PER_LINE) {
      lines.push(named.slice(at, at + REGISTERS_PER_LINE).join('  '));
    }
    lines.push(`cs ${cs.selector.toString(16)} base ${hexWord(cs.baseAddress)} l ${cs.l} db ${cs.db} dpl ${ss.dpl}`);
    return [...lines, codeText(vcpu, cs.baseAddress + regs.rip, memory)].join('\n');
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    return `its registers cannot be read: ${error.message}`;
  }
}

function codeText(vcpu: KvmVcpuFd, linearAddress: bigint, memory: GuestMemory): string {
  const address = vcpu.translate(BigInt.asUintN(64, linearAddress));
  if (address === undefined) return 'code: no page is mapped there';
  const code = new Uint8Array(Math.min(CODE_BYTES, PAGE_SIZE_BYTES - (address % PAGE_SIZE_BYTES)));
  if (!memory.contains(address, code.length)) return `code: no RAM at guest-physical ${address.toString(16)}`;
  memory.readBytes(address, code);
  return `code at guest-physical ${address.toString(16)}: ${hexBytes(code)}`;
}

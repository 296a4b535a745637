/** Puts the architectural register state into the software CPU. */
import type { Cpu } from '#cpu/cpu.ts';
import { X87_LAYOUT } from '#cpu/float/x87-state.ts';
import { GPR_NAMES, SEGMENT, STATE } from '#cpu/layout.ts';
import type { Table } from '#cpu/system-state.ts';
import type {
  DescriptorTableRegister,
  FpuControl,
  SegmentRegister,
  SpecialRegisters,
  VcpuRegisters,
} from '../registers.ts';

const low = (value: bigint): number => Number(BigInt.asIntN(32, value));
const high = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n));

export function loadGeneralRegisters(cpu: Cpu, registers: VcpuRegisters): void {
  GPR_NAMES.forEach((name, number) => {
    cpu.quads[STATE.GPR / 8 + number] = BigInt.asIntN(64, registers[name]);
  });
  cpu.setRip(low(registers.rip), high(registers.rip));
  cpu.flags = low(registers.rflags);
}

export function loadSpecialRegisters(cpu: Cpu, registers: SpecialRegisters): void {
  const { system } = cpu;
  for (const [name, number] of Object.entries(SEGMENT)) {
    loadSegment(cpu, number, registers[name.toLowerCase() as 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss']);
  }
  loadTable(system.gdt, registers.gdt);
  loadTable(system.idt, registers.idt);
  loadTable(system.ldt, registers.ldt, registers.ldt.selector);
  loadTable(system.tr, registers.tr, registers.tr.selector);
  system.cr0 = low(registers.cr0);
  system.cr2Low = low(registers.cr2);
  system.cr2High = high(registers.cr2);
  system.cr3 = Number(registers.cr3);
  system.cr4 = low(registers.cr4);
  cpu.options.interrupts.writeTaskPriority(low(registers.cr8));
  system.efer = low(registers.efer);
  system.cpl = registers.ss.dpl;
  cpu.words[STATE.SSE_UNCHECKED >> 2] = 1;
  cpu.mmu.tlb.flush();
  cpu.mmu.selectMode();
}

export function loadFpuControl(cpu: Cpu, { fcw, mxcsr }: FpuControl): void {
  cpu.words[(STATE.X87 + X87_LAYOUT.CONTROL) >> 2] = fcw;
  cpu.words[STATE.MXCSR >> 2] = mxcsr;
}

function loadSegment(cpu: Cpu, number: number, register: SegmentRegister): void {
  const segment = cpu.system.segments[number];
  if (segment === undefined) return;
  segment.selector = register.selector;
  segment.limit = register.limit;
  segment.attributes = register.unusable ? 0 : attributesOf(register);
  cpu.quads[STATE.SEGMENT_BASE / 8 + number] = BigInt.asIntN(64, register.base);
}

/** Bits 8 to 23 of a descriptor's upper half, SDM vol. 3 figure 3-8, without the limit's. */
function attributesOf(register: SegmentRegister): number {
  return (
    register.type |
    (register.codeOrData ? 0x10 : 0) |
    (register.dpl << 5) |
    (register.present ? 0x80 : 0) |
    (register.available ? 0x1000 : 0) |
    (register.longMode ? 0x2000 : 0) |
    (register.defaultBig ? 0x4000 : 0) |
    (register.granular ? 0x8000 : 0)
  );
}

function loadTable(table: Table, register: DescriptorTableRegister, selector = 0): void {
  table.selector = selector;
  table.baseLow = low(register.base);
  table.baseHigh = high(register.base);
  table.limit = register.limit;
}

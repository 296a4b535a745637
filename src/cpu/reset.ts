/** The state of a processor after INIT, and where a start-up message has it begin (SDM vol. 3 §9.1.1, table 9-1, and §8.4.3). */
import type { Cpu } from './cpu.ts';
import { GPR, SEGMENT, STATE } from './layout.ts';
import { CR0, DR6_FIXED, DR7_FIXED, type Segment, type Table } from './system-state.ts';

const CR0_CACHE_BITS = 0x6000_0000;
const REAL_MODE_LIMIT = 0xffff;
/** Present, readable or writable, accessed. */
const CODE_ATTRIBUTES = 0x9b;
const DATA_ATTRIBUTES = 0x93;
const RESET_SELECTOR = 0xf000;
const RESET_BASE = 0xffff_0000;
const RESET_POINTER = 0xfff0;
const PAGE_SHIFT = 12;

/** What INIT leaves: model-specific registers, x87, SSE and the counter stay as they are. Between runs. */
export function initialise(cpu: Cpu): void {
  const { system, words, quads } = cpu;
  for (let number = 0; number < 16; number++) quads[STATE.GPR / 8 + number] = 0n;
  // The signature, as CPUID gives it.
  words[(STATE.GPR + GPR.RDX) >> 2] = cpu.options.cpuid(1, 0)[0];
  system.cr0 = CR0_CACHE_BITS | CR0.ET;
  system.cr2Low = 0;
  system.cr2High = 0;
  system.cr3 = 0;
  system.cr4 = 0;
  system.efer = 0;
  system.cpl = 0;
  system.breakpoints.fill(0);
  system.dr6 = DR6_FIXED | 0;
  system.dr7 = DR7_FIXED;
  system.shadow = false;
  system.nmiBlocked = false;
  for (const number of Object.values(SEGMENT)) setSegment(cpu, number, 0, 0);
  for (const table of [system.gdt, system.idt, system.ldt, system.tr]) clearTable(table);
  setSegment(cpu, SEGMENT.CS, RESET_SELECTOR, RESET_BASE);
  begin(cpu, RESET_POINTER);
}

/** Begins at the first byte of a page of the first MiB, by its number, in the state that `initialise` left. */
export function startUp(cpu: Cpu, page: number): void {
  setSegment(cpu, SEGMENT.CS, page << (PAGE_SHIFT - 4), page << PAGE_SHIFT);
  begin(cpu, 0);
}

function begin(cpu: Cpu, pointer: number): void {
  cpu.halted = false;
  cpu.flags = 2;
  cpu.words[STATE.SSE_UNCHECKED >> 2] = 1;
  cpu.mmu.tlb.flush();
  cpu.mmu.selectMode();
  cpu.setInstructionPointer(pointer, 0);
}

function setSegment(cpu: Cpu, number: number, selector: number, base: number): void {
  const segment = cpu.system.segments[number] as Segment;
  segment.selector = selector;
  segment.limit = REAL_MODE_LIMIT;
  segment.attributes = number === SEGMENT.CS ? CODE_ATTRIBUTES : DATA_ATTRIBUTES;
  cpu.quads[STATE.SEGMENT_BASE / 8 + number] = BigInt(base);
}

function clearTable(table: Table): void {
  table.selector = 0;
  table.baseLow = 0;
  table.baseHigh = 0;
  table.limit = REAL_MODE_LIMIT;
}

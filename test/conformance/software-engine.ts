/**
 * The software CPU as an engine: a bare 64-bit machine whose kernel is one HLT per exception vector. A case is entered by
 * IRETQ and ends with an exception through the IDT, so privilege changes and frames are exercised as well.
 */
import type { Cpu } from '#cpu/cpu.ts';
import { JIT_DEFAULTS } from '#cpu/jit/jit.ts';
import { STATE as CPU_STATE, SEGMENT } from '#cpu/layout.ts';
import { CR0, CR4, EFER } from '#cpu/system-state.ts';
import { createTestMachine } from '#cpu/testing.ts';
import {
  type CaseResult,
  CODE_BASE,
  CODE_SELECTOR,
  CODE_SIZE,
  CONST_SIZE,
  DATA_BASE,
  DATA_SIZE,
  differences,
  type Engine,
  FILLER,
  failed,
  initialData,
  PAGE_SIZE,
  STATE,
  type TestCase,
  userState,
  writeInitialMemory,
} from './case.ts';
import { endingOf } from './trap.ts';

/** Physical addresses. */
const RAM = {
  PML4: 0x1_0000,
  PDPT_USER: 0x1_1000,
  PD_USER: 0x1_2000,
  PT_USER: 0x1_3000,
  PDPT_KERNEL: 0x1_4000,
  PD_KERNEL: 0x1_5000,
  GDT: 0x2_0000,
  IDT: 0x2_1000,
  TSS: 0x2_2000,
  STUBS: 0x2_3000,
  STACK_TOP: 0x2_8000,
  FX: 0x2_9000,
  CODE: 0x10_0000,
  DATA: 0x20_0000,
} as const;

/** Where the kernel sees physical memory from 0 on: the first address of the upper half. */
const KERNEL_HIGH = 0xffff_8000;
const KERNEL_BASE = 0xffff_8000_0000_0000n;

/** Page-table entry bits, SDM vol. 3 §4.5. */
const PTE = { PRESENT: 1n, WRITABLE: 2n, USER: 4n, LARGE: 0x80n, NO_EXECUTE: 1n << 63n } as const;

/** Linux's selectors; cases see CS and SS. */
const SELECTOR = { KERNEL_CODE: 0x10, KERNEL_DATA: 0x18, USER_DATA: 0x2b, TSS: 0x40 } as const;
const DESCRIPTORS: Readonly<Record<number, bigint>> = {
  [SELECTOR.KERNEL_CODE]: 0x00af_9b00_0000_ffffn,
  [SELECTOR.KERNEL_DATA]: 0x00cf_9300_0000_ffffn,
  [SELECTOR.USER_DATA & ~7]: 0x00cf_f300_0000_ffffn,
  [CODE_SELECTOR[64] & ~7]: 0x00af_fb00_0000_ffffn,
  [CODE_SELECTOR[32] & ~7]: 0x00cf_fb00_0000_ffffn,
};

/** Offsets of the stubs behind the 256 one-byte exception handlers. */
const STUB = { ENTER: 0x200, SAVE: 0x220 } as const;
const HLT = 0xf4;

/** The one gate besides INT3 that user mode may use is INTO's, as on Linux. */
const USER_GATES = [3, 4];

/** A case is one instruction; what runs longer than this repeats a string operation without end. */
const SLICES_MAX = 64;
const SLICE = 1_000_000;

function fillPageTables(view: DataView): void {
  const entry = (table: number, index: number, value: bigint): void =>
    view.setBigUint64(table + 8 * index, value, true);
  const user = PTE.PRESENT | PTE.WRITABLE | PTE.USER;
  const index = (level: number): number => Math.floor(CODE_BASE / 2 ** (12 + 9 * level)) % 512;
  entry(RAM.PML4, 0, BigInt(RAM.PDPT_USER) | user);
  entry(RAM.PDPT_USER, index(2), BigInt(RAM.PD_USER) | user);
  entry(RAM.PD_USER, index(1), BigInt(RAM.PT_USER) | user);
  const page = (address: number, physical: number, bits: bigint): void =>
    entry(RAM.PT_USER, Math.floor(address / PAGE_SIZE) % 512, BigInt(physical) | PTE.PRESENT | PTE.USER | bits);
  for (let at = 0; at < CODE_SIZE; at += PAGE_SIZE) page(CODE_BASE + at, RAM.CODE + at, 0n);
  for (let at = 0; at < DATA_SIZE + CONST_SIZE; at += PAGE_SIZE) {
    page(DATA_BASE + at, RAM.DATA + at, PTE.NO_EXECUTE | (at < DATA_SIZE ? PTE.WRITABLE : 0n));
  }
  entry(RAM.PML4, 256, BigInt(RAM.PDPT_KERNEL) | PTE.PRESENT | PTE.WRITABLE);
  entry(RAM.PDPT_KERNEL, 0, BigInt(RAM.PD_KERNEL) | PTE.PRESENT | PTE.WRITABLE);
  for (let i = 0; i < 8; i++) entry(RAM.PD_KERNEL, i, BigInt(i * 0x20_0000) | PTE.PRESENT | PTE.WRITABLE | PTE.LARGE);
}

function fillTables(view: DataView): void {
  for (const [selector, descriptor] of Object.entries(DESCRIPTORS)) {
    view.setBigUint64(RAM.GDT + Number(selector), descriptor, true);
  }
  for (let vector = 0; vector < 256; vector++) {
    const at = RAM.IDT + 16 * vector;
    const handler = RAM.STUBS + vector;
    view.setUint16(at, handler, true);
    view.setUint16(at + 2, SELECTOR.KERNEL_CODE, true);
    view.setUint16(at + 4, USER_GATES.includes(vector) ? 0xee00 : 0x8e00, true);
    view.setUint16(at + 6, handler >>> 16, true);
    view.setUint32(at + 8, KERNEL_HIGH, true);
  }
  view.setBigUint64(RAM.TSS + 4, KERNEL_BASE + BigInt(RAM.STACK_TOP), true); // RSP0
  view.setUint16(RAM.TSS + 0x66, 0x68, true); // no map of ports
}

/** `opcode` with a RIP-relative operand at RAM.FX. */
function withFxOperand(at: number, opcode: readonly number[]): number[] {
  const bytes = new DataView(new ArrayBuffer(4));
  bytes.setInt32(0, RAM.FX - (at + opcode.length + 4), true);
  return [...opcode, ...new Uint8Array(bytes.buffer)];
}

function fillStubs(ram: Uint8Array): void {
  ram.fill(HLT, RAM.STUBS, RAM.STUBS + 256);
  const enterAt = RAM.STUBS + STUB.ENTER;
  ram.set([...withFxOperand(enterAt, [0x48, 0x0f, 0xae, 0x0d]), 0x48, 0xcf], enterAt); // FXRSTOR64; IRETQ
  const saveAt = RAM.STUBS + STUB.SAVE;
  ram.set([...withFxOperand(saveAt, [0x48, 0x0f, 0xae, 0x05]), HLT], saveAt); // FXSAVE64; HLT
}

function setTable(table: { baseLow: number; baseHigh: number; limit: number }, physical: number, limit: number): void {
  table.baseLow = physical;
  table.baseHigh = KERNEL_HIGH | 0;
  table.limit = limit;
}

export class SoftwareEngine implements Engine {
  readonly name = 'software';
  readonly #cpu: Cpu;
  readonly #ram: Uint8Array;
  readonly #view: DataView;
  readonly #data: Uint8Array;
  readonly #base = initialData();
  readonly #before = new Uint8Array(DATA_SIZE);

  /** `compiles`: each block before it runs, in place of interpreting it. */
  constructor({ compiles = false }: { readonly compiles?: boolean } = {}) {
    const { cpu, ram } = createTestMachine('', compiles ? { jit: { ...JIT_DEFAULTS, threshold: 0 } } : {});
    this.#cpu = cpu;
    this.#ram = ram;
    this.#view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.#data = ram.subarray(RAM.DATA, RAM.DATA + DATA_SIZE);
    fillPageTables(this.#view);
    fillTables(this.#view);
    fillStubs(ram);
    ram.fill(FILLER, RAM.CODE, RAM.CODE + CODE_SIZE);
    ram.set(this.#base, RAM.DATA);
    const { system } = cpu;
    system.cr0 |= CR0.MP | CR0.NE | CR0.WP;
    system.cr4 |= CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.PGE;
    system.efer |= EFER.NXE | EFER.SCE;
    system.cr3 = RAM.PML4;
    setTable(system.gdt, RAM.GDT, 0x7f);
    setTable(system.idt, RAM.IDT, 0xfff);
    setTable(system.tr, RAM.TSS, 0x67);
    system.tr.selector = SELECTOR.TSS;
  }

  run(cases: readonly TestCase[]): CaseResult[] {
    return cases.map((testCase) => {
      try {
        return this.#runCase(testCase);
      } catch (error) {
        return failed(error instanceof Error ? (error.stack ?? error.message) : String(error));
      }
    });
  }

  #runCase({ code, state, patches, bits }: TestCase): CaseResult {
    writeInitialMemory(this.#data, this.#base, patches);
    writeInitialMemory(this.#before, this.#base, patches);
    const offset = Number(state.control[0]) - CODE_BASE;
    const inside = code.subarray(0, CODE_SIZE - offset);
    this.#ram.set(inside, RAM.CODE + offset);
    this.#ram.set(state.bytes.subarray(STATE.FX), RAM.FX);
    state.gpr.forEach((value, i) => {
      this.#cpu.quads[CPU_STATE.GPR / 8 + i] = BigInt.asIntN(64, value);
    });
    const frame = [
      state.control[0],
      BigInt(CODE_SELECTOR[bits]),
      state.control[1],
      state.gpr[4],
      BigInt(SELECTOR.USER_DATA),
    ];
    const frameAt = RAM.STACK_TOP - 8 * frame.length;
    frame.forEach((value, i) => void this.#view.setBigUint64(frameAt + 8 * i, value as bigint, true));
    this.#enterKernel(STUB.ENTER, frameAt);
    const failure = this.#runToHalt();
    const result = failure === null ? this.#result(offset, inside.length) : failed(failure);
    this.#ram.fill(FILLER, RAM.CODE + offset, RAM.CODE + offset + inside.length);
    return result;
  }

  /** Makes the CPU go on in supervisor mode at a stub, with this stack. */
  #enterKernel(stub: number, stackAt: number): void {
    const cpu = this.#cpu;
    const { system } = cpu;
    system.cpl = 0;
    Object.assign(system.segments[1] as object, { selector: SELECTOR.KERNEL_CODE, attributes: 0xa09b });
    Object.assign(system.segments[2] as object, { selector: SELECTOR.KERNEL_DATA, attributes: 0xc093 });
    for (const register of [SEGMENT.ES, SEGMENT.DS]) {
      Object.assign(system.segments[register] as object, { selector: SELECTOR.USER_DATA, attributes: 0xc0f3 });
    }
    cpu.flags = 2;
    cpu.halted = false;
    cpu.quads[CPU_STATE.GPR / 8 + 4] = BigInt.asIntN(64, KERNEL_BASE + BigInt(stackAt));
    cpu.setRip(RAM.STUBS + stub, KERNEL_HIGH | 0);
    cpu.mmu.selectMode();
    // The code area was written from outside; the CPU looks again at pages that it maps anew.
    cpu.mmu.tlb.flush();
  }

  #runToHalt(): string | null {
    for (let i = 0; i < SLICES_MAX; i++) {
      const stop = this.#cpu.run(SLICE);
      if (stop.reason === 'halt') return null;
      if (stop.reason !== 'budget') return JSON.stringify(stop);
    }
    return 'the instruction does not end';
  }

  #result(offset: number, length: number): CaseResult {
    const { quads, system } = this.#cpu;
    const state = userState();
    for (let i = 0; i < 16; i++) state.gpr[i] = BigInt.asUintN(64, quads[CPU_STATE.GPR / 8 + i] as bigint);
    const stackAt = Number(BigInt.asUintN(64, state.gpr[4] as bigint) - KERNEL_BASE);
    const hasErrorCode = stackAt === RAM.STACK_TOP - 48;
    const frameAt = hasErrorCode ? stackAt + 8 : stackAt;
    const word = (i: number): bigint => this.#view.getBigUint64(frameAt + 8 * i, true);
    const handler = Number(BigInt.asUintN(64, quads[CPU_STATE.RIP / 8] as bigint) - KERNEL_BASE) - 1 - RAM.STUBS;
    if (!(handler >= 0 && handler < 256)) return failed(`the CPU halted at ${handler.toString(16)}`);
    const cr2 = (BigInt(system.cr2High >>> 0) << 32n) | BigInt(system.cr2Low >>> 0);
    const errorCode = hasErrorCode ? Number(this.#view.getBigUint64(stackAt, true)) : 0;
    const { exception, rip } = endingOf({ vector: handler, errorCode, cr2, rip: word(0) }, offset, length);
    state.control[0] = rip;
    state.control[1] = word(2);
    state.gpr[4] = word(3);
    this.#enterKernel(STUB.SAVE, RAM.STACK_TOP);
    const failure = this.#runToHalt();
    if (failure !== null) return failed(failure);
    state.bytes.set(this.#ram.subarray(RAM.FX, RAM.FX + 512), STATE.FX);
    const same = Buffer.compare(this.#before, this.#data) === 0;
    return { state, exception, changes: same ? [] : differences(this.#before, this.#data), failure: null };
  }
}

/** A machine that runs programs, its memory and registers being set anew for each. */
import type { CpuOptions, CpuStop, InterruptSource } from '#cpu/cpu.ts';
import { SEGMENT, STATE } from '#cpu/layout.ts';
import { CR0, CR4, EFER, SystemState } from '#cpu/system-state.ts';
import { createTestMachine, NO_INTERRUPTS, type TestMachine } from '#cpu/testing.ts';
import { Random } from '../random.ts';
import type { Mode } from './instructions.ts';
import {
  PAGE,
  PROGRAM,
  PROGRAM_PAGES,
  RAM_SIZE,
  SELECTOR,
  STACK_BYTES,
  SUPERVISOR,
  VECTORS,
  writeInterruptTable,
  writeSupervisor,
} from './layout.ts';
import { type Program, type Resume, resumeAddress } from './program.ts';

export type End = CpuStop['reason'];

/** Bytes of the state block. */
const STATE_SIZE = 0x800;
const RSP = 4;
const XMM_QUADS = 32;
/** Instructions between looks at the budget. */
const SLICE = 100;
/** As above where interrupts come between any two instructions. */
const INTERRUPTED_SLICE = 12;
const LONG_MODE = {
  cr0: CR0.PE | CR0.PG | CR0.ET | CR0.MP | CR0.NE | CR0.WP,
  cr4: CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.OSXSAVE | CR4.PGE,
  efer: EFER.LME | EFER.LMA | EFER.NXE | EFER.SCE,
  cr3: SUPERVISOR.PML4,
  cpl: 3,
  xcr0: 3,
  starHigh: 0x0020_0010,
  lstarLow: SUPERVISOR.HANDLERS,
  syscallMask: 0x4_7700,
} as const;
const REAL_MODE = { cr0: CR0.ET, cr4: CR4.OSFXSR | CR4.OSXMMEXCPT, efer: 0, cr3: 0, cpl: 0 } as const;

function written(sizeBytes: number, write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  write(new DataView(bytes.buffer));
  return bytes;
}
const LONG_MEMORY = written(SUPERVISOR.END, writeSupervisor);
const REAL_MEMORY = written(RAM_SIZE, writeInterruptTable);

const isReal = (program: Program): boolean => program.mode === 'real';

export class ProgramMachine {
  readonly test: TestMachine;
  #program!: Program;
  #image!: Uint8Array;
  readonly #view: DataView;
  readonly #freshState: Uint8Array;
  /** When interrupts come; null for never. */
  #interrupts: Random | null = null;

  constructor(options: Pick<CpuOptions, 'keepsBlocks' | 'jit'>) {
    const interrupts: InterruptSource = {
      ...NO_INTERRUPTS,
      pending: () => this.#interrupts?.oneIn(4) ?? false,
      acknowledge: () => VECTORS.INTERRUPT,
      nmiPending: () => this.test.cpu.system.cpl === 3 && (this.#interrupts?.oneIn(16) ?? false),
    };
    this.test = createTestMachine('', { ...options, interrupts, ramSizeBytes: RAM_SIZE });
    const { ram, cpu } = this.test;
    this.#view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.#freshState = cpu.bytes.slice(0, STATE_SIZE);
  }

  /** The memory that a program may change, for comparisons. */
  get programMemory(): Uint8Array {
    const { ram } = this.test;
    if (isReal(this.#program)) return ram.subarray(0, RAM_SIZE);
    return ram.subarray(PROGRAM.PHYSICAL, PROGRAM.PHYSICAL + PROGRAM_PAGES * PAGE);
  }

  /** What the processor pushed when the program ended. */
  get frame(): Uint8Array {
    const sp = Number(this.test.register(RSP));
    const hasFrame = sp >= SUPERVISOR.STACK - STACK_BYTES && sp <= SUPERVISOR.STACK;
    return this.test.ram.subarray(hasFrame ? sp : SUPERVISOR.STACK, SUPERVISOR.STACK);
  }

  /** Whether nothing has changed that user code may not write; all is right in real mode, which has no such thing. */
  isIsolated(): boolean {
    if (isReal(this.#program)) return true;
    const { ram } = this.test;
    const isEqual = (at: number, expected: Uint8Array): boolean =>
      Buffer.compare(ram.subarray(at, at + expected.length), expected) === 0;
    return (
      isEqual(0, LONG_MEMORY.subarray(0, SUPERVISOR.STACK - STACK_BYTES)) &&
      isEqual(SUPERVISOR.STACK, LONG_MEMORY.subarray(SUPERVISOR.STACK)) &&
      isEqual(PROGRAM.PHYSICAL + PROGRAM.CLOSED_START, this.#image.subarray(PROGRAM.CLOSED_START, PROGRAM.CLOSED_END))
    );
  }

  /** Chooses the program and its `imageOf`, and forgets all that was decoded and translated for others. */
  begin(program: Program, image: Uint8Array): void {
    this.#program = program;
    this.#image = image;
    this.test.cpu.code.flush();
  }

  /** Runs the program from its beginning, about `slices` times 100 instructions at most. */
  run(slices: number, isInterrupted: boolean): End {
    const { interruptSeed, resumes } = this.#program;
    this.#load();
    this.#reset();
    this.#interrupts = isInterrupted && interruptSeed !== 0 ? new Random(interruptSeed) : null;
    let left = slices;
    let resumed = 0;
    for (;;) {
      const { reason } = this.test.cpu.run(this.#interrupts?.below(INTERRUPTED_SLICE) ?? SLICE);
      if (reason === 'budget') {
        if (--left === 0) return reason;
        continue;
      }
      const resume = resumes[resumed++];
      if (reason === 'triple-fault' || resume === undefined || !this.#mayGoOn()) return reason;
      this.#goOn(resume);
    }
  }

  #load(): void {
    if (isReal(this.#program)) {
      const end = PROGRAM.REAL + this.#image.length;
      this.#write(0, REAL_MEMORY.subarray(0, PROGRAM.REAL));
      this.#write(PROGRAM.REAL, this.#image);
      this.#write(end, REAL_MEMORY.subarray(end));
      return;
    }
    this.#write(0, LONG_MEMORY);
    this.#write(PROGRAM.PHYSICAL, this.#image);
  }

  /** Whole pages, only those that differ: the second run is to find what the first has decoded. */
  #write(address: number, data: Uint8Array): void {
    const { ram, cpu } = this.test;
    if (Buffer.compare(ram.subarray(address, address + data.length), data) === 0) return;
    if (data.length === PAGE) {
      cpu.mmu.writeRam(address, data);
      return;
    }
    const half = Math.floor(data.length / PAGE / 2) * PAGE;
    this.#write(address, data.subarray(0, half));
    this.#write(address + half, data.subarray(half));
  }

  #reset(): void {
    const { cpu } = this.test;
    const { system } = cpu;
    const { registers, flags, dataSeed, offset } = this.#program;
    cpu.bytes.set(this.#freshState);
    cpu.halted = false;
    const fresh = new SystemState();
    const { gdt, idt, ldt, tr, segments: _, breakpoints, ...plain } = fresh;
    Object.assign(system, plain, isReal(this.#program) ? REAL_MODE : LONG_MODE);
    system.breakpoints.set(breakpoints);
    Object.assign(system.gdt, gdt, { baseLow: SUPERVISOR.GDT, limit: 0x7f });
    Object.assign(system.ldt, ldt, { limit: 0 });
    if (isReal(this.#program)) Object.assign(system.idt, idt, { limit: 0x3ff });
    else Object.assign(system.idt, idt, { baseLow: SUPERVISOR.IDT, limit: 0xfff });
    Object.assign(system.tr, tr, { selector: SELECTOR.TSS, baseLow: SUPERVISOR.TSS, limit: 0x67 });
    for (const [number, value] of registers.entries()) cpu.quads[number] = value;
    const random = new Random(dataSeed);
    for (let quad = 0; quad < XMM_QUADS; quad++) cpu.quads[STATE.XMM / 8 + quad] = random.u64();
    cpu.flags = flags;
    this.#setSegments(this.#program.mode);
    cpu.mmu.tlb.flush();
    cpu.mmu.selectMode();
    if (isReal(this.#program)) cpu.setRip(PROGRAM.REAL + offset, 0);
    else cpu.setRip(PROGRAM.LINEAR + offset, 0);
  }

  #setSegments(mode: Mode): void {
    const { cpu } = this.test;
    const { segments } = this.#program;
    const code = mode === 'long' ? SELECTOR.USER_CODE64 : SELECTOR.USER_CODE32;
    for (const [number, { base, limit, attributes }] of segments.entries()) {
      const register = cpu.segments.register(number);
      cpu.quads[STATE.SEGMENT_BASE / 8 + number] = BigInt(base);
      if (mode === 'real') Object.assign(register, { selector: base >> 4, attributes, limit });
      else if (number === SEGMENT.CS) {
        Object.assign(register, { selector: code, attributes: mode === 'long' ? 0xa0fb : 0xc0fb, limit: 0xffff_ffff });
      } else Object.assign(register, { selector: attributes === 0 ? 0 : SELECTOR.USER_DATA, attributes, limit });
    }
  }

  /** Whether user code has ended in an exception other than that of INT3, so that it may go on. */
  #mayGoOn(): boolean {
    const { cpu, register } = this.test;
    const vector = Number(cpu.quads[STATE.RIP / 8]) - 1 - SUPERVISOR.HANDLERS;
    const depth = SUPERVISOR.STACK - Number(register(RSP));
    return vector >= 0 && vector <= 0xff && vector !== VECTORS.BREAKPOINT && (depth === 40 || depth === 48);
  }

  /** As a supervisor that returns to another place, with the program's stack and flags. */
  #goOn(resume: Resume): void {
    const { cpu } = this.test;
    const isLong = (this.#program.mode === 'long') !== resume.otherMode;
    const flags = this.#view.getUint32(SUPERVISOR.STACK - 24, true);
    const sp = this.#view.getBigInt64(SUPERVISOR.STACK - 16, true);
    cpu.system.cpl = 3;
    cpu.halted = false;
    this.#setSegments(isLong ? 'long' : 'compatibility');
    cpu.flags = flags;
    cpu.quads[RSP] = sp;
    cpu.setRip(resumeAddress(this.#program, resume), 0);
    cpu.mmu.selectMode();
  }
}

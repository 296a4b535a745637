/** A test machine with descriptor tables, whose handlers record what they were entered with and halt. */
import type { CpuOptions, InterruptSource } from './cpu.ts';
import { STATE } from './layout.ts';
import { createTestMachine, NO_INTERRUPTS, type TestMachine } from './testing.ts';

/** Physical addresses; the machine maps its memory to itself. */
export const AT = {
  TABLES: 0x1000,
  GDT: 0x31_0000,
  IDT: 0x30_0000,
  TSS: 0x32_0000,
  /** Handler n is one HLT at HANDLERS + n. */
  HANDLERS: 0x33_0000,
  STACK: 0x34_0000,
  IST1: 0x35_0000,
  IST1_END: 0x36_0000,
  RSP0: 0x37_0000,
  USER_CODE: 0x40_0000,
  USER_STACK: 0x50_0000,
} as const;

export const SELECTOR = { CODE: 0x08, DATA: 0x10, USER_DATA: 0x1b, USER_CODE: 0x23, TSS: 0x28 } as const;
const DESCRIPTORS: readonly bigint[] = [
  0n,
  0x00af_9b00_0000_ffffn,
  0x00cf_9300_0000_ffffn,
  0x00cf_f300_0000_ffffn,
  0x00af_fb00_0000_ffffn,
];

export interface Entered {
  readonly vector: number;
  /** Undefined for vectors without one. */
  readonly errorCode: bigint | undefined;
  readonly rip: bigint;
  readonly cs: bigint;
  readonly rflags: bigint;
  readonly rsp: bigint;
  readonly ss: bigint;
}

const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

export class SystemMachine {
  readonly machine: TestMachine;
  readonly view: DataView;
  /** Vectors that wait; taken from the front. */
  readonly waiting: number[] = [];
  nmi = false;

  constructor(code: string, options: Partial<CpuOptions> = {}) {
    const interrupts: InterruptSource = {
      ...NO_INTERRUPTS,
      pending: () => this.waiting.length > 0,
      acknowledge: () => this.waiting.shift() ?? -1,
      nmiPending: () => this.nmi,
      acknowledgeNmi: () => {
        this.nmi = false;
      },
    };
    this.machine = createTestMachine(code, { interrupts, ...options });
    const { ram, cpu } = this.machine;
    this.view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    DESCRIPTORS.forEach((descriptor, i) => {
      this.view.setBigUint64(AT.GDT + 8 * i, descriptor, true);
    });
    const { gdt, idt, tr } = cpu.system;
    Object.assign(gdt, { baseLow: AT.GDT, limit: 0x37 });
    Object.assign(idt, { baseLow: AT.IDT, limit: 0xfff });
    Object.assign(tr, { selector: SELECTOR.TSS, baseLow: AT.TSS, limit: 0x67 });
    Object.assign(cpu.system.segments[1] as object, { selector: SELECTOR.CODE, attributes: 0xa09b });
    Object.assign(cpu.system.segments[2] as object, { selector: SELECTOR.DATA, attributes: 0xc093 });
    this.view.setBigUint64(AT.TSS + 4, BigInt(AT.RSP0), true);
    this.view.setBigUint64(AT.TSS + 0x24, BigInt(AT.IST1_END), true);
    ram.fill(0xf4, AT.HANDLERS, AT.HANDLERS + 256);
    for (let vector = 0; vector < 256; vector++) this.setGate(vector, {});
    this.machine.setRegister(4, BigInt(AT.STACK));
  }

  setGate(
    vector: number,
    gate: { type?: number; dpl?: number; ist?: number; present?: boolean; selector?: number },
  ): void {
    const { type = 0xe, dpl = 0, ist = 0, present = true, selector = SELECTOR.CODE } = gate;
    const handler = AT.HANDLERS + vector;
    const at = AT.IDT + 16 * vector;
    this.view.setUint32(at, (handler & 0xffff) | (selector << 16), true);
    this.view.setUint32(
      at + 4,
      (handler & 0xffff0000) | (present ? 0x8000 : 0) | (dpl << 13) | (type << 8) | ist,
      true,
    );
    this.view.setBigUint64(at + 8, 0n, true);
  }

  /** Enters user mode at code (hexadecimal text) with pages that user mode may use. */
  enterUser(code: string): void {
    const { ram, cpu, setRegister } = this.machine;
    ram.set(Uint8Array.fromHex(code.replaceAll(/\s/g, '')), AT.USER_CODE);
    setRegister(4, BigInt(AT.USER_STACK));
    cpu.system.cpl = 3;
    Object.assign(cpu.system.segments[1] as object, { selector: SELECTOR.USER_CODE, attributes: 0xa0fb });
    Object.assign(cpu.system.segments[2] as object, { selector: SELECTOR.USER_DATA, attributes: 0xc0f3 });
    cpu.setRip(AT.USER_CODE, 0);
    cpu.mmu.selectMode();
  }

  /** Runs to the next halt; what the handler that halted was entered with, null where other code halted. */
  run(): Entered | null {
    const { cpu } = this.machine;
    cpu.halted = false;
    for (let slices = 0; slices < 100; slices++) {
      const stop = cpu.run(100_000);
      if (stop.reason === 'halt') return this.#entered();
      if (stop.reason === 'triple-fault') throw new Error(`triple fault; vector ${stop.vector}`);
    }
    throw new Error('the program did not end');
  }

  #entered(): Entered | null {
    const { cpu } = this.machine;
    const vector = Number(cpu.quads[STATE.RIP / 8]) - 1 - AT.HANDLERS;
    if (vector < 0 || vector > 255) return null;
    const hasError = WITH_ERROR_CODE.has(vector);
    const sp = Number(this.machine.register(4)) + (hasError ? 8 : 0);
    const word = (i: number): bigint => this.view.getBigUint64(sp + 8 * i, true);
    return {
      vector,
      errorCode: hasError ? word(-1) : undefined,
      rip: word(0),
      cs: word(1),
      rflags: word(2),
      rsp: word(3),
      ss: word(4),
    };
  }
}

/** Machines for tests of code that is not 64-bit code. */
import assert from 'node:assert/strict';
import type { Cpu, CpuStop } from './cpu.ts';
import { SEGMENT, STATE } from './layout.ts';
import type { TestMachine } from './testing.ts';
import { AT, SELECTOR, SystemMachine } from './testing-system.ts';

/** Further descriptors of the test machine. */
export const SELECTOR32 = { CODE: 0x38, USER_CODE: 0x43, BASED_DATA: 0x48 } as const;
export const DESCRIPTORS = {
  CODE32: 0x00cf_9a00_0000_ffffn,
  USER_CODE32: 0x00cf_fa00_0000_ffffn,
  BASED_DATA: 0x00cf_9203_0000_ffffn,
} as const;
/** Base of the data segment that has one. */
export const BASE = 0x3_0000;

/** Runs 64-bit `code` beside the descriptors of 32-bit code. */
export function machineOf(code: string): SystemMachine {
  const system = new SystemMachine(code);
  system.view.setBigUint64(AT.GDT + SELECTOR32.CODE, DESCRIPTORS.CODE32, true);
  system.view.setBigUint64(AT.GDT + (SELECTOR32.USER_CODE & ~7), DESCRIPTORS.USER_CODE32, true);
  system.view.setBigUint64(AT.GDT + SELECTOR32.BASED_DATA, DESCRIPTORS.BASED_DATA, true);
  system.view.setBigUint64(AT.GDT + SELECTOR.TSS, 0x0000_8932_0000_0067n, true);
  system.machine.cpu.system.gdt.limit = 0x4f;
  return system;
}

export const put = ({ ram }: TestMachine, at: number, code: string): void => ram.set(Uint8Array.fromHex(code), at);

/** Loads a segment register without a descriptor. */
export function setSegment(
  cpu: Cpu,
  number: number,
  to: { selector: number; attributes: number; base?: number; limit?: number },
): void {
  const { selector, attributes, base = 0, limit = 0xffffffff } = to;
  Object.assign(cpu.segments.register(number), { selector, attributes, limit });
  cpu.quads[STATE.SEGMENT_BASE / 8 + number] = BigInt(base);
}

/** Runs until HLT. */
export function halt(cpu: Cpu): void {
  const stop: CpuStop = cpu.run(1_000_000);
  assert.equal(stop.reason, 'halt');
}

/** Enters 32-bit user code, as `SystemMachine.enterUser`. */
export function enterUser32(system: SystemMachine, code: string): void {
  system.enterUser(code);
  const { cpu } = system.machine;
  setSegment(cpu, SEGMENT.CS, { selector: SELECTOR32.USER_CODE, attributes: 0xc0fa });
  for (const number of [SEGMENT.SS, SEGMENT.DS, SEGMENT.ES]) {
    setSegment(cpu, number, { selector: SELECTOR.USER_DATA, attributes: 0xc0f3 });
  }
  cpu.mmu.selectMode();
}

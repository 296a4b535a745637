/** A bare machine for tests: identity-mapped RAM, flat segments, code at CODE_START in supervisor mode. */
import { Cpu, type CpuOptions, type InterruptSource, memoryPages } from './cpu.ts';
import { GPR, RAM_BASE, STATE } from './layout.ts';

export const CODE_START = 0x100000;
export const STACK_TOP = 0x200000;
const TABLES = 0x1000;

/** Nothing ever interrupts. */
export const NO_INTERRUPTS: InterruptSource = {
  pending: () => false,
  acknowledge: () => -1,
  nmiPending: () => false,
  acknowledgeNmi: () => {},
  readTaskPriority: () => 0,
  writeTaskPriority: () => {},
};
export const RAM_SIZE_BYTES = 16 << 20;

export interface TestMachine {
  readonly cpu: Cpu;
  /** Guest RAM. */
  readonly ram: Uint8Array;
  /** A general register by its number in encodings. */
  register(number: number): bigint;
  setRegister(number: number, value: bigint): void;
}

/** Builds the machine with `code` (hexadecimal text, spaces ignored) loaded. */
export function createTestMachine(code: string, options: Partial<CpuOptions> = {}): TestMachine {
  const pages = memoryPages(RAM_SIZE_BYTES + (options.regionRoomBytes ?? 0));
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const ram = new Uint8Array(memory.buffer, RAM_BASE, RAM_SIZE_BYTES);
  const tables = new DataView(memory.buffer, RAM_BASE + TABLES, 0x3000);
  tables.setUint32(0, (TABLES + 0x1000) | 7, true);
  tables.setUint32(0x1000, (TABLES + 0x2000) | 7, true);
  for (let i = 0; i < 512; i++) tables.setUint32(0x2000 + i * 8, (i * 0x200000) | 0x87, true);
  ram.set(Uint8Array.fromHex(code.replaceAll(/\s/g, '')), CODE_START);
  const cpu = new Cpu({
    memory,
    ramSizeBytes: RAM_SIZE_BYTES,
    devices: { read: (_address, data) => void data.fill(0xff), write: () => undefined },
    ports: { read: () => 0, write: () => undefined },
    interrupts: NO_INTERRUPTS,
    msrs: { read: () => null, write: () => false },
    clock: { nowNs: () => 0, wallMs: () => 0 },
    random: (target) => void target.fill(0x5a),
    cpuid: () => [0, 0, 0, 0],
    ...options,
  });
  cpu.system.cr3 = TABLES;
  cpu.quads[(STATE.GPR + GPR.RSP) / 8] = BigInt(STACK_TOP);
  cpu.setRip(CODE_START, 0);
  return {
    cpu,
    ram,
    register: (number) => BigInt.asUintN(64, cpu.quads[number] as bigint),
    setRegister: (number, value) => {
      cpu.quads[number] = BigInt.asIntN(64, value);
    },
  };
}

/** IN, OUT and who may use which port (SDM vol. 1 chapter 19). */
import { isProtected } from '../code-key.ts';
import { GPR, type Size, STATE, STOP } from '../layout.ts';
import { VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

const RAX = STATE.GPR + GPR.RAX;
const RDX = STATE.GPR + GPR.RDX;
const SCRATCH = STATE.BOUNCE;
/** Place in a task state segment of the 16-bit offset of its I/O permission map. */
const IO_MAP_BASE = 0x66;

/** Whether the map of the task allows all these ports: their bits are clear. Raises the fault if not. */
function mapAllows(h: HelperContext, port: number, sizeBytes: number): boolean {
  const { mmu, system, words } = h.cpu;
  const { tr } = system;
  const refuse = (): false => {
    mmu.raise(VECTOR.GP, 0);
    return false;
  };
  const read = (offset: number): boolean => {
    const at = (tr.baseLow >>> 0) + offset;
    return mmu.readVirtual(at | 0, tr.baseHigh + (at >= 0x1_0000_0000 ? 1 : 0), SCRATCH, 2, 0);
  };
  if (!tr.isWide || IO_MAP_BASE + 1 > tr.limit) return refuse();
  if (!read(IO_MAP_BASE)) return false;
  const offset = ((words[SCRATCH >> 2] as number) & 0xffff) + (port >>> 3);
  // Two bytes are read always, so that a byte of ones ends the map.
  if (offset + 1 > tr.limit) return refuse();
  if (!read(offset)) return false;
  const bits = ((words[SCRATCH >> 2] as number) & 0xffff) >>> (port & 7);
  return (bits & ((1 << sizeBytes) - 1)) === 0 || refuse();
}

/** Whether these ports may be used now; raises the fault if not. */
export function mayUsePorts(h: HelperContext, port: number, sizeBytes: number): boolean {
  const { system, words } = h.cpu;
  if (!isProtected(system) || system.cpl <= (((words[STATE.FLAGS >> 2] as number) >> 12) & 3)) return true;
  return mapAllows(h, port, sizeBytes);
}

/** a: size, b: whether the port is in DX, c: the port if not. */
export function ports(h: HelperContext) {
  const { cpu } = h;
  const io = cpu.options.ports;
  const port = (record: number): number => (h.b(record) === 1 ? h.low(RDX) & 0xffff : h.c(record));
  return {
    in: (record: number) => {
      const size = h.a(record) as Size;
      const from = port(record);
      if (!mayUsePorts(h, from, 1 << size)) return STOP.FAULT;
      const value = io.read(from, 1 << size);
      if (size === 2) h.set(RAX, value, 0);
      else if (size === 1) cpu.words[RAX >> 2] = (h.low(RAX) & 0xffff0000) | (value & 0xffff);
      else cpu.bytes[RAX] = value;
      return 0;
    },
    out: (record: number) => {
      const size = h.a(record) as Size;
      const to = port(record);
      if (!mayUsePorts(h, to, 1 << size)) return STOP.FAULT;
      const value = h.low(RAX);
      io.write(to, 1 << size, size === 2 ? value >>> 0 : size === 1 ? value & 0xffff : value & 0xff);
      return cpu.interruptible ? h.resyncAfter(record) : 0;
    },
  } satisfies Record<string, Helper>;
}

/** Builds the interpreter: one WebAssembly module made from the emitters of all micro-operations. */
import type { FunctionBuilder, Label } from '#wasm/function-builder.ts';
import { ModuleBuilder } from '#wasm/module-builder.ts';
import { CODE_CHUNK_SHIFT, CODE_TLB, EXIT, RECORD, STATE, STOP } from './layout.ts';
import { Emit } from './uops/emit.ts';
import { writeCarryRoutine, writeConditionRoutine, writeFlagsRoutine } from './uops/flag-routines.ts';
import { type AccessRoutines, type Control, type Routines, scratch } from './uops/parts.ts';
import { allUops, type Uop } from './uops/registry.ts';
import './uops/index.ts';

/** What the engine calls back. Addresses and values wider than 32 bits pass through the state block. */
export interface EngineImports {
  /** Place in memory of a load's bytes, or 0 when it faults. */
  slowLoad(record: number, sizeBytes: number): number;
  slowLoadForWrite(record: number, sizeBytes: number): number;
  /** Stores what is at STATE.BOUNCE; a stop code, or 0. */
  slowStore(record: number, sizeBytes: number): number;
  /** See Routines of uops/emit.ts. */
  slowLocked(record: number, what: number): number;
  helper(number: number, record: number): number;
}

export interface Engine {
  /** Runs from this record until something stops it; returns a STOP code. */
  run(record: number): number;
  /** The six arithmetic flags. */
  flags(): number;
  /** As Routines of uops/emit.ts. */
  carry(): number;
  condition(n: number): number;
  /** Of functions from a record to a stop code: micro-operations first, then what is added. */
  readonly table: WebAssembly.Table;
  /** 1 when all chunks of 64 bytes whose bits are set in the 64 at `chunks` are the same in the pages at `page` and `copy`. */
  samePage(page: number, copy: number, chunks: number): number;
}

interface AllRoutines {
  readonly routines: Routines;
  readonly accesses: AccessRoutines;
}

/** A micro-operation as a function: record → stop code or 0. */
function writeFunction(f: FunctionBuilder, uop: Uop, { routines, accesses }: AllRoutines): void {
  const tlb = f.local('i32');
  const e = new Emit({
    f,
    record: 0,
    tlb,
    scratch: scratch(f),
    routines,
    accesses,
    control: null,
    stop: () => f.op('return'),
  });
  e.reloadTlb();
  uop.emit(e);
  f.i32(0);
}

/** Where direct and indirect branches end up: links, the page's table, the code TLB; else back to TypeScript. */
function writeBranchTails(
  f: FunctionBuilder,
  control: Control,
  l: { record: number; link: number; code: number; table: number },
  labels: { exit: Label; afterDirect: Label },
): void {
  const { next, budget, target, rip } = control;
  const leave = (code: number): void => void f.i32(code).set(l.code).br(labels.exit);
  const go = (): void => void f.get(l.link).set(l.record).br(next);
  f.end(); // direct
  f.get(budget).i32(0).op('i32.ge_s').if();
  f.get(l.record).mem('i32.load', RECORD.IMM).tee(l.link).if();
  go();
  f.end();
  f.get(target).i32(0x1000).op('i32.lt_u').if();
  f.i32(0).mem('i32.load', STATE.CODE_TABLE).get(target).i32(2).op('i32.shl').op('i32.add').mem('i32.load');
  f.tee(l.link).if();
  f.get(l.record).get(l.link).mem('i32.store', RECORD.IMM);
  go();
  f.end().end().end();
  f.i32(0).mem('i64.load', STATE.CODE_PAGE).get(target).op('i64.extend_i32_s').op('i64.add').set(rip);
  f.end(); // indirect
  f.i32(0).get(rip).mem('i64.store', STATE.RIP);
  f.get(budget).i32(0).op('i32.lt_s').if();
  leave(STOP.POLL);
  f.end();
  f.get(rip)
    .op('i32.wrap_i64')
    .i32(12 - CODE_TLB.ENTRY_SHIFT)
    .op('i32.shr_u');
  f.i32((CODE_TLB.ENTRIES - 1) << CODE_TLB.ENTRY_SHIFT).op('i32.and');
  f.i32(0).mem('i32.load', STATE.CODE_TLB).op('i32.add').set(l.table);
  const found = f.block();
  const leaveIfThere = (): void => {
    f.get(l.table).mem('i64.load', CODE_TLB.PAGE).get(rip).i64(~0xfffn).op('i64.and').op('i64.eq').brIf(found);
  };
  leaveIfThere();
  f.get(l.table).i32(CODE_TLB.ALTERNATE).op('i32.xor').set(l.table);
  leaveIfThere();
  leave(STOP.LOOKUP);
  f.end();
  f.get(l.table).mem('i32.load', CODE_TLB.TABLE).set(l.table);
  f.get(rip).op('i32.wrap_i64').i32(0xfff).op('i32.and').i32(2).op('i32.shl').get(l.table).op('i32.add');
  f.mem('i32.load').tee(l.link).if();
  f.i32(0).get(rip).i64(~0xfffn).op('i64.and').mem('i64.store', STATE.CODE_PAGE);
  f.i32(0).get(l.table).mem('i32.store', STATE.CODE_TABLE);
  go();
  f.end();
  leave(STOP.LOOKUP);
}

function writeMainLoop(
  f: FunctionBuilder,
  uops: readonly Uop[],
  { routines, accesses }: AllRoutines,
  functionType: number,
): void {
  const record = 0;
  const tlb = f.local('i32');
  const code = f.local('i32');
  const link = f.local('i32');
  const table = f.local('i32');
  const budget = f.local('i32');
  const target = f.local('i32');
  const rip = f.local('i64');
  const locals = scratch(f);
  f.i32(0).mem('i32.load', STATE.TLB).set(tlb);
  f.i32(0).mem('i32.load', STATE.BUDGET).set(budget);
  const exit = f.block();
  const next = f.loop();
  const indirect = f.block();
  const direct = f.block();
  const enterRegion = (): void => {
    f.i32(0).get(budget).mem('i32.store', STATE.BUDGET);
    f.get(record).get(record).mem('i32.load', RECORD.IMM).callIndirect(functionType).set(code);
    f.i32(0).mem('i32.load', STATE.BUDGET).set(budget);
    f.i32(0).mem('i32.load', STATE.TLB).set(tlb);
    f.i32(0).mem('i32.load', STATE.RECORD).set(record);
    f.get(code).i32(EXIT.CONTINUE).op('i32.eq').brIf(next);
    f.get(code).i32(EXIT.DIRECT).op('i32.eq').if();
    f.get(record).mem('i32.load', RECORD.IMM_HIGH).set(target).br(direct);
    f.end();
    f.get(code).i32(EXIT.INDIRECT).op('i32.ne').brIf(exit);
    f.i32(0).mem('i64.load', STATE.RIP).set(rip).br(indirect);
  };
  const control: Control = { budget, target, rip, direct, indirect, next, enterRegion };
  const e = new Emit({
    f,
    record,
    tlb,
    scratch: locals,
    routines,
    accesses,
    control,
    stop: () => f.set(code).br(exit),
  });
  const advance = (): void => void f.get(record).i32(16).op('i32.add').set(record).br(next);
  const viaTable = f.block();
  const inLoop = uops.map((uop, index) => ({ uop, index })).filter(({ uop }) => uop.placement === 'loop');
  const labels: Label[] = uops.map(() => viaTable);
  for (const { index } of inLoop.toReversed()) labels[index] = f.block();
  f.get(record).mem('i32.load16_u', RECORD.OP).brTable(labels, viaTable);
  for (const { uop } of inLoop) {
    f.end();
    uop.emit(e);
    advance();
  }
  f.end();
  f.get(record).get(record).mem('i32.load16_u', RECORD.OP).callIndirect(functionType).tee(code).brIf(exit);
  advance();
  writeBranchTails(f, control, { record, link, code, table }, { exit, afterDirect: next });
  f.op('unreachable');
  f.end().end();
  f.i32(0).get(budget).mem('i32.store', STATE.BUDGET);
  f.i32(0).get(record).mem('i32.store', STATE.RECORD);
  f.get(code);
}

/** Chunk by chunk, four vectors at once. */
function writeSamePage(f: FunctionBuilder): void {
  const [page, copy, chunks] = [0, 1, 2];
  const left = f.local('i64');
  const at = f.local('i32');
  const differs = f.block();
  const done = f.block();
  f.get(chunks).mem('i64.load').set(left);
  const next = f.loop();
  f.get(left).op('i64.eqz').brIf(done);
  f.get(left).op('i64.ctz').op('i32.wrap_i64').i32(CODE_CHUNK_SHIFT).op('i32.shl').set(at);
  for (let offset = 0; offset < 1 << CODE_CHUNK_SHIFT; offset += 16) {
    for (const base of [page, copy]) f.get(base).get(at).op('i32.add').simdMem('v128.load', offset);
    f.simd('v128.xor');
    if (offset > 0) f.simd('v128.or');
  }
  f.simd('v128.any_true').brIf(differs);
  f.get(left).get(left).i64(1n).op('i64.sub').op('i64.and').set(left);
  f.br(next);
  f.end().end();
  f.i32(1).op('return');
  f.end();
  f.i32(0);
}

/** Encodes the interpreter module; `minPages` is the size of the memory that it will be given. */
export function encodeEngine(): Uint8Array<ArrayBuffer> {
  const uops = allUops();
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const slowLoad = module.importFunction('env', 'slowLoad', ['i32', 'i32'], ['i32']);
  const slowLoadForWrite = module.importFunction('env', 'slowLoadForWrite', ['i32', 'i32'], ['i32']);
  const slowStore = module.importFunction('env', 'slowStore', ['i32', 'i32'], ['i32']);
  const slowLocked = module.importFunction('env', 'slowLocked', ['i32', 'i32'], ['i32']);
  const helper = module.importFunction('env', 'helper', ['i32', 'i32'], ['i32']);
  const flags = module.define([], ['i32']);
  writeFlagsRoutine(flags.body);
  const carry = module.define([], ['i32']);
  writeCarryRoutine(carry.body);
  const condition = module.define(['i32'], ['i32']);
  writeConditionRoutine(condition.body, flags.index);
  const all: AllRoutines = {
    routines: { flags: flags.index, carry: carry.index, condition: condition.index, helper },
    accesses: { slowLoad, slowLoadForWrite, slowStore, slowLocked },
  };
  const functionType = module.type(['i32'], ['i32']);
  const inMainLoop = module.define(['i32'], ['i32']);
  inMainLoop.body.op('unreachable');
  const entries = uops.map((uop) => {
    if (uop.placement === 'loop') return inMainLoop.index;
    const { index, body } = module.define(['i32'], ['i32']);
    writeFunction(body, uop, all);
    return index;
  });
  const run = module.define(['i32'], ['i32']);
  writeMainLoop(run.body, uops, all, functionType);
  const samePage = module.define(['i32', 'i32', 'i32'], ['i32']);
  writeSamePage(samePage.body);
  module.table(entries);
  module.export('run', run.index);
  module.export('flags', flags.index);
  module.export('carry', carry.index);
  module.export('condition', condition.index);
  module.exportTable('table');
  module.export('samePage', samePage.index);
  return module.encode();
}

/** Instantiates the interpreter over this memory. */
export function createEngine(memory: WebAssembly.Memory, imports: EngineImports): Engine {
  const module = new WebAssembly.Module(encodeEngine());
  const instance = new WebAssembly.Instance(module, { env: { memory, ...imports } });
  return instance.exports as unknown as Engine;
}

/** Random programs, and smaller ones that may fail as well. */
import { FLAG, GPR_NAMES, SEGMENT } from '#cpu/layout.ts';
import { Random } from '../random.ts';
import { withoutParts } from '../target.ts';
import { callingProgram } from './calling.ts';
import { type Context, type Mode, randomInstruction, someValue } from './instructions.ts';
import { ALIAS_DISTANCE, PAGE, PROGRAM, PROGRAM_PAGES, VIRTUAL_PAGES } from './layout.ts';

/** A segment register's hidden part. In real mode only the base counts. */
export interface SegmentValue {
  readonly base: number;
  readonly limit: number;
  readonly attributes: number;
}

/** Where a program goes on after an exception, in user code. */
export interface Resume {
  /** Of this number or the last one. */
  readonly instruction: number;
  /** Through the alias of the code's pages. */
  readonly alias: boolean;
  /** As 64-bit code where the program began as 32-bit code, or the other way round: the bytes mean something else. */
  readonly otherMode: boolean;
}

export interface Program {
  readonly mode: Mode;
  readonly instructions: readonly Uint8Array[];
  /** Of the first instruction, from the program's first page on. */
  readonly offset: number;
  readonly registers: readonly bigint[];
  readonly flags: number;
  /** What data pages and XMM registers hold. */
  readonly dataSeed: number;
  /** When the machine that keeps blocks is interrupted; 0 for never. */
  readonly interruptSeed: number;
  readonly resumes: readonly Resume[];
  /** ES, CS, SS, DS, FS and GS, of which CS counts in real mode only; in 64-bit code none does. */
  readonly segments: readonly SegmentValue[];
}

const INSTRUCTIONS = { MIN: 3, MAX: 16 } as const;
const RESUMES = 6;
const GP_CX = 1;
const GP_SP = 4;
/** Longest part of a program that is written to on purpose. */
const REACH = 100;
const REAL_BASES = [0x3_0000, 0x3_0000, 0x3_0010, 0x2_fff0, 0x3_3000, 0x3_0ff0, 0x2_0000, 0] as const;
const REAL_CODE_BASES = [0x3_0000, 0x3_0000, 0x2_ff00, 0x2_0010] as const;
const FLAT: SegmentValue = { base: 0, limit: 0xffff_ffff, attributes: 0xc0f3 };
const NULL: SegmentValue = { base: 0, limit: 0, attributes: 0 };
const LIMITS = [0xffff_ffff, 0x40_800f, 0x40_4fff, 0xffff, 0x7fff_ffff] as const;
const NOP = 0x90;

function realSegments(random: Random): SegmentValue[] {
  return Array.from({ length: 6 }, (_, number) => ({
    base: random.pick(number === SEGMENT.CS ? REAL_CODE_BASES : REAL_BASES),
    limit: 0xffff,
    attributes: number === SEGMENT.CS ? 0x9b : 0x93,
  }));
}

/** Segments with bases and limits, data that expands down, and null ones. */
function unevenSegment(random: Random, number: number): SegmentValue {
  if (random.oneIn(2)) return FLAT;
  const base = random.oneIn(2) ? 0 : random.pick([0x10, 0x1000, 0xffff_f000]);
  const attributes =
    number === SEGMENT.SS ? random.pick([0xc0f3, 0x40f7]) : random.pick([0xc0f3, 0xc0f3, 0, 0x40f7, 0xc0fb]);
  return { base, limit: random.pick(LIMITS), attributes };
}

function segmentsOf(random: Random, mode: Mode): SegmentValue[] {
  if (mode === 'real') return realSegments(random);
  const isUneven = mode === 'compatibility' && random.oneIn(3);
  return Array.from({ length: 6 }, (_, number) => {
    if (isUneven && number !== SEGMENT.CS) return unevenSegment(random, number);
    return number < SEGMENT.FS ? FLAT : NULL;
  });
}

/** A place in the program or in its alias, counted from its first page; often where an instruction lies across two pages. */
function codePlaceOf(random: Random, codeOffset: number): number {
  const place = random.oneIn(3) ? PAGE + random.between(-4, 8) : codeOffset + random.between(-8, REACH);
  return place + (random.oneIn(3) ? ALIAS_DISTANCE : 0);
}

/** An address in one of the program's pages, counted from the first: in its code, at a page's end, or anywhere. */
function placeOf(random: Random, codeOffset: number): number {
  if (random.oneIn(3)) return codePlaceOf(random, codeOffset);
  const page = random.below(VIRTUAL_PAGES) * PAGE;
  return page + (random.oneIn(3) ? PAGE - random.between(1, 20) : random.below(PAGE));
}

function contextOf(random: Random, mode: Mode, offset: number): Context {
  if (mode === 'real') {
    return {
      mode,
      address: () => (PROGRAM.REAL + placeOf(random, offset) - random.pick(REAL_BASES)) & 0xffff,
      code: () => (PROGRAM.REAL + codePlaceOf(random, offset) - random.pick(REAL_BASES)) & 0xffff,
      stack: () => 0x8000 + random.below(0x400),
    };
  }
  return {
    mode,
    address: () => PROGRAM.LINEAR + placeOf(random, offset),
    code: () => PROGRAM.LINEAR + codePlaceOf(random, offset),
    stack: () => PROGRAM.LINEAR + PROGRAM.STACK_OFFSET - random.below(64) * 8,
  };
}

function registersOf(random: Random, context: Context): bigint[] {
  return Array.from({ length: 16 }, (_, number) => {
    if (number === GP_SP) return BigInt(context.stack());
    const low = BigInt(random.oneIn(3) ? someValue(random) : context.address());
    // Without paging nothing stops a string with 32-bit addresses before RCX does: seconds for 2^32 elements.
    if (context.mode === 'real' && number === GP_CX) return low & 0xffffn;
    return context.mode === 'long' && random.oneIn(20) ? low | (BigInt(random.u32()) << 32n) : low;
  });
}

export function generateProgram(random: Random): Program {
  const mode = random.pick<Mode>(['long', 'long', 'compatibility', 'compatibility', 'real']);
  const offset = random.oneIn(2) ? PAGE - random.below(80) : random.below(PAGE + PAGE / 2);
  const context = contextOf(random, mode, offset);
  const instructions =
    mode === 'long' && random.oneIn(3)
      ? callingProgram(random, context)
      : Array.from({ length: random.between(INSTRUCTIONS.MIN, INSTRUCTIONS.MAX) }, () =>
          randomInstruction(random, context),
        );
  const segments = segmentsOf(random, mode);
  // An interrupt's return loads SS from its descriptor, which is flat.
  const mayBeInterrupted = mode !== 'real' && segments[SEGMENT.SS] === FLAT;
  return {
    mode,
    offset,
    instructions,
    registers: registersOf(random, context),
    flags: FLAG.IF | 2 | (random.u32() & 0x8d5) | (random.oneIn(20) ? FLAG.DF : 0) | (random.oneIn(20) ? FLAG.AC : 0),
    dataSeed: random.u32(),
    interruptSeed: mayBeInterrupted && random.oneIn(4) ? random.u32() : 0,
    resumes: Array.from({ length: mode === 'real' ? 0 : RESUMES }, () => ({
      instruction: random.below(instructions.length),
      alias: random.oneIn(4),
      otherMode: random.oneIn(6),
    })),
    segments,
  };
}

/** The linear address where a program goes on. */
export function resumeAddress({ instructions, offset }: Program, { instruction, alias }: Resume): number {
  const before = instructions.slice(0, Math.min(instruction, Math.max(0, instructions.length - 1)));
  const length = before.reduce((sum, bytes) => sum + bytes.length, 0);
  return PROGRAM.LINEAR + offset + length + (alias ? ALIAS_DISTANCE : 0);
}

/** What the program's physical pages hold. Whatever follows the code is INT3. */
export function imageOf({ instructions, offset, dataSeed, mode }: Program): Uint8Array {
  const image = new Uint8Array(PROGRAM_PAGES * PAGE);
  const view = new DataView(image.buffer);
  const random = new Random(dataSeed);
  const context = contextOf(random, mode, offset);
  for (let at = PROGRAM.DATA_OFFSET; at < image.length; at += 4 * random.between(1, 8)) {
    view.setUint32(at, random.oneIn(3) ? context.address() : random.u32(), true);
  }
  image.fill(0xcc, 0, PROGRAM.DATA_OFFSET);
  image.set(Buffer.concat(instructions), offset);
  return image;
}

const isNops = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === NOP);

/** Fewer instructions; then fewer that do something, each in its place; then fewer ways to go on, and no interrupts. */
export function* shrinkProgram(program: Program): Iterable<Program> {
  const { instructions, resumes } = program;
  for (const fewer of withoutParts(instructions, (before, after) => [
    ...instructions.slice(...before),
    ...instructions.slice(...after),
  ])) {
    yield { ...program, instructions: fewer };
  }
  if (program.interruptSeed !== 0) yield { ...program, interruptSeed: 0 };
  for (const [number, bytes] of instructions.entries()) {
    if (!isNops(bytes)) yield { ...program, instructions: instructions.with(number, bytes.slice().fill(NOP)) };
  }
  for (const number of resumes.keys()) yield { ...program, resumes: resumes.toSpliced(number, 1) };
}

const hex = (value: number | bigint): string => value.toString(16);

export function showProgram(program: Program): string {
  const { mode, instructions, offset, registers, flags, resumes, segments } = program;
  const start = hex((mode === 'real' ? PROGRAM.REAL : PROGRAM.LINEAR) + offset);
  const code = instructions.map((bytes) => Buffer.from(bytes).toString('hex')).join(' ');
  const lines = [
    `${mode} code at ${start}: ${code}`,
    registers.map((value, number) => `${GPR_NAMES[number]} ${hex(value)}`).join(' '),
    `flags ${hex(flags)}, data ${program.dataSeed}, interrupts ${program.interruptSeed}`,
    `goes on at ${resumes.map((resume) => hex(resumeAddress(program, resume)) + (resume.otherMode ? ' in the other mode' : '')).join(', ')}`,
  ];
  if (mode !== 'long') {
    const shown = segments.map(({ base, limit, attributes }) => `${hex(base)}+${hex(limit)}:${hex(attributes)}`);
    lines.push(`segments ${shown.join(' ')}`);
  }
  return lines.join('\n  ');
}

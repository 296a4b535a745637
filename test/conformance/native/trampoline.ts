/**
 * The machine code around a case. `enter` is called as a function: it loads the case's whole state and goes to the
 * instruction with IRETQ, which loads RIP, RFLAGS and RSP at once and serializes, so that the freshly written instruction
 * is the one that runs. Every case ends in a signal: the instruction's own exception, or the INT3 at the place where it
 * went. `onSignal` saves what the kernel put into the signal frame and returns from `enter` with the host's registers.
 * Control never goes back through sigreturn; that is allowed: the signal is not blocked and the alternate stack is free
 * as soon as RSP has left it.
 */
import { STATE } from '../case.ts';
import { Assembler, REG } from './assembler.ts';

/** Offsets in the trampoline's mapping: code in the first page, data in the second. */
export const LAYOUT = {
  HOST_RSP: 4096,
  /** 1 while a case runs; a signal at another time is not ours. */
  ACTIVE: 4104,
  DEFAULT_ACTION: 4112,
  /** Selector of the case's code segment. */
  CS: 4152,
  STATE: 4160,
  /** The signal frame's general registers, then its FXSAVE image. */
  REGISTERS: 5120,
  SIZE: 8192,
} as const;

/** The order of `gregs` in a signal frame's ucontext, asm/sigcontext.h. */
export const FRAME = {
  /** Places of RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15. */
  GPR: [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7],
  RIP: 16,
  RFLAGS: 17,
  ERROR: 19,
  TRAP: 20,
  CR2: 22,
  COUNT: 23,
} as const;

export const FX_SIZE = 512;

/** Offsets in struct ucontext. */
const UCONTEXT = { GREGS: 40, FPREGS: 40 + FRAME.COUNT * 8 } as const;

/** The selector of data segments in user mode on Linux, asm/segment.h. */
const USER_DS = 0x2b;

const SYS_RT_SIGACTION = 13;
const SYS_RT_SIGRETURN = 15;

const CALLEE_SAVED = [REG.RBX, REG.RBP, REG.R12, 13, 14, REG.R15];

export interface Trampoline {
  readonly code: Uint8Array;
  readonly enter: number;
  readonly onSignal: number;
  readonly restorer: number;
}

function enter(a: Assembler): void {
  for (const register of CALLEE_SAVED) a.push(register);
  a.store(REG.RSP, LAYOUT.HOST_RSP);
  a.storeImmediate(LAYOUT.ACTIVE, 1);
  a.raw(0x48, 0x0f, 0xae); // FXRSTOR64
  a.ripRelative(1, LAYOUT.STATE + STATE.FX);
  // Compatibility mode reaches memory through DS and ES, which 64-bit programs leave null.
  a.moveImmediate(REG.RAX, USER_DS);
  a.raw(0x8e, 0xd8, 0x8e, 0xc0); // MOV DS, EAX; MOV ES, EAX
  a.pushByte(USER_DS);
  a.pushMemory(LAYOUT.STATE + STATE.GPR + 8 * REG.RSP);
  a.pushMemory(LAYOUT.STATE + STATE.RFLAGS);
  a.pushMemory(LAYOUT.CS);
  a.pushMemory(LAYOUT.STATE + STATE.RIP);
  for (let register = 0; register < 16; register++) {
    if (register !== REG.RSP) a.load(register, LAYOUT.STATE + STATE.GPR + 8 * register);
  }
  a.raw(0x48, 0xcf); // IRETQ
}

function onSignal(a: Assembler): void {
  a.pushByte(2);
  a.raw(0x9d); // POPFQ: AC and NT, which the kernel leaves as the case set them
  a.compareWithZero(LAYOUT.ACTIVE);
  const notOurs = a.jumpIfEqual();
  a.storeImmediate(LAYOUT.ACTIVE, 0);
  a.address(REG.RDI, LAYOUT.REGISTERS);
  a.raw(0x48, 0x8d, 0x72, UCONTEXT.GREGS); // LEA RSI, [RDX + GREGS]
  a.moveImmediate(REG.RCX, FRAME.COUNT);
  a.raw(0xf3, 0x48, 0xa5); // REP MOVSQ
  a.raw(0x48, 0x8b, 0xb2); // MOV RSI, [RDX + FPREGS]
  a.imm32(UCONTEXT.FPREGS);
  a.moveImmediate(REG.RCX, FX_SIZE / 8);
  a.raw(0xf3, 0x48, 0xa5);
  a.load(REG.RSP, LAYOUT.HOST_RSP);
  for (const register of CALLEE_SAVED.toReversed()) a.pop(register);
  a.raw(0xc3);
  a.land(notOurs);
  // The default action again, and back to where the signal came from: the process ends as it would have without us.
  a.moveImmediate(REG.RAX, SYS_RT_SIGACTION);
  a.address(REG.RSI, LAYOUT.DEFAULT_ACTION);
  a.moveImmediate(REG.RDX, 0);
  a.moveImmediate(REG.R10, 8);
  a.raw(0x0f, 0x05, 0xc3); // SYSCALL; RET
}

/** The code for a mapping of LAYOUT.SIZE bytes at any address; entry points are offsets in it. */
export function assembleTrampoline(): Trampoline {
  const a = new Assembler();
  const enterAt = a.here;
  enter(a);
  const onSignalAt = a.here;
  onSignal(a);
  const restorerAt = a.here;
  a.moveImmediate(REG.RAX, SYS_RT_SIGRETURN);
  a.raw(0x0f, 0x05);
  return { code: a.code(), enter: enterAt, onSignal: onSignalAt, restorer: restorerAt };
}

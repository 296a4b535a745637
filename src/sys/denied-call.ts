/**
 * Names the system call that a filter denies by SECCOMP_RET_TRAP, and ends the process by SIGSYS: a handler in machine code, which any
 * thread can run wherever it is and which needs no JavaScript. x86-64.
 */
import { assert } from '#util/assert.ts';
import { bufferOver } from './ffi.ts';
import { MapFlag, mmap, mprotect, PAGE_SIZE_BYTES, Prot } from './memory.ts';
import { Signal } from './signal.ts';
import { SignalActionFlag, setSignalAction } from './signal-action.ts';

/**
 * handler(signal, siginfo): writes a line to standard error, unless that would wait, and makes a call that no filter of names allows. SIGSYS is
 * blocked here: the kernel then takes its default action. So does a call of the handler's own that the filter denies.
 */
// biome-ignore format: an instruction a line
const HANDLER_CODE = Uint8Array.of(
  0xf3, 0x0f, 0x1e, 0xfa,                                       // endbr64
  0xfc,                                                         // cld
  0x8b, 0x5e, 0x18,                                             // mov  ebx, [rsi + 24]      si_syscall
  0x48, 0x81, 0xec, 0x00, 0x04, 0x00, 0x00,                     // sub  rsp, 1024            room for the line
  0x48, 0xb8, 0x02, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,   // mov  rax, 0x400000002     a pollfd: standard error, POLLOUT
  0x50,                                                         // push rax
  0x48, 0x89, 0xe7,                                             // mov  rdi, rsp
  0xbe, 0x01, 0x00, 0x00, 0x00,                                 // mov  esi, 1
  0x31, 0xd2,                                                   // xor  edx, edx             without waiting
  0xb8, 0x07, 0x00, 0x00, 0x00,                                 // mov  eax, 7               poll
  0x0f, 0x05,                                                   // syscall
  0xff, 0xc8,                                                   // dec  eax
  0x75, 0x72,                                                   // jne  to the last mov      nobody reads there
  0x58,                                                         // pop  rax
  0xb8, 0xba, 0x00, 0x00, 0x00,                                 // mov  eax, 186             gettid
  0x0f, 0x05,                                                   // syscall
  0x48, 0x89, 0xe7,                                             // mov  rdi, rsp
  0x4c, 0x8d, 0x05, 0xbf, 0x0f, 0x00, 0x00,                     // lea  r8, [rip + …]        THREADS_OFFSET
  0x41, 0x8b, 0x10,                                             // mov  edx, [r8]
  0x85, 0xd2,                                                   // test edx, edx
  0x74, 0x0a,                                                   // je   behind the jmp       the last: any other thread
  0x39, 0xc2,                                                   // cmp  edx, eax
  0x74, 0x06,                                                   // je   behind the jmp
  0x49, 0x83, 0xc0, 0x40,                                       // add  r8, 64
  0xeb, 0xef,                                                   // jmp  to the mov edx
  0x41, 0x8b, 0x48, 0x04,                                       // mov  ecx, [r8 + 4]
  0x49, 0x8d, 0x70, 0x08,                                       // lea  rsi, [r8 + 8]
  0xf3, 0xa4,                                                   // rep  movsb                who
  0xb8, 0x00, 0x02, 0x00, 0x00,                                 // mov  eax, 512             CALLS_MAX
  0x39, 0xc3,                                                   // cmp  ebx, eax
  0x0f, 0x43, 0xd8,                                             // cmovae ebx, eax           the last: a call without a name
  0xc1, 0xe3, 0x06,                                             // shl  ebx, 6
  0x48, 0x8d, 0x35, 0x90, 0x31, 0x00, 0x00,                     // lea  rsi, [rip + …]       CALLS_OFFSET
  0x48, 0x01, 0xde,                                             // add  rsi, rbx
  0x8b, 0x4e, 0x04,                                             // mov  ecx, [rsi + 4]
  0x48, 0x83, 0xc6, 0x08,                                       // add  rsi, 8
  0xf3, 0xa4,                                                   // rep  movsb                which call
  0x48, 0x8d, 0x35, 0x7d, 0x2f, 0x00, 0x00,                     // lea  rsi, [rip + …]       ADVICE_OFFSET
  0x8b, 0x4e, 0x04,                                             // mov  ecx, [rsi + 4]
  0x48, 0x83, 0xc6, 0x08,                                       // add  rsi, 8
  0xf3, 0xa4,                                                   // rep  movsb                what to do
  0x48, 0x89, 0xfa,                                             // mov  rdx, rdi
  0x48, 0x29, 0xe2,                                             // sub  rdx, rsp
  0x48, 0x89, 0xe6,                                             // mov  rsi, rsp
  0xbf, 0x02, 0x00, 0x00, 0x00,                                 // mov  edi, 2
  0xb8, 0x01, 0x00, 0x00, 0x00,                                 // mov  eax, 1               write
  0x0f, 0x05,                                                   // syscall
  0xb8, 0xff, 0x0f, 0x00, 0x00,                                 // mov  eax, 0xfff           no call; denied while SIGSYS is blocked, it ends the process
  0x0f, 0x05,                                                   // syscall
  0x0f, 0x0b,                                                   // ud2
);

/** Behind the code's page: texts of 64 bytes, which are a key, a length and up to 56 bytes; THREADS_MAX of them have thread ids as keys. */
const THREADS_OFFSET = PAGE_SIZE_BYTES;
const TEXT_BYTES = 64;
const TEXT_MAX_BYTES = TEXT_BYTES - 8;
const THREADS_MAX = 127;
const ADVICE_OFFSET = THREADS_OFFSET + TEXT_BYTES * (THREADS_MAX + 1);
const ADVICE_BYTES = 512;
const CALLS_OFFSET = ADVICE_OFFSET + ADVICE_BYTES;
const CALLS_MAX = 512;
const SIZE_BYTES = 12 * PAGE_SIZE_BYTES;

/** The line is the thread's text, the call's and the advice, one behind the other; the advice has the line's end. */
export interface DeniedCallTexts {
  /** By the id of the thread, up to 127, of up to 56 bytes each, as those of calls. */
  readonly threads: ReadonlyMap<number, string>;
  readonly otherThread: string;
  /** By the number of the call, below 512. */
  readonly calls: ReadonlyMap<number, string>;
  readonly otherCall: string;
  /** Up to 504 bytes. */
  readonly advice: string;
}

/** Installs the handler for the rest of the process's life, before the filter. Throws SyscallError. */
export function nameDeniedCalls({ threads, otherThread, calls, otherCall, advice }: DeniedCallTexts): void {
  assert(threads.size <= THREADS_MAX, 'room for every thread');
  const address = mmap({
    sizeBytes: SIZE_BYTES,
    prot: Prot.READ | Prot.WRITE,
    flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS,
  });
  const buffer = bufferOver(address, SIZE_BYTES);
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  const put = (offset: number, text: string, key = 0): void => {
    const data = Buffer.from(text);
    assert(data.length <= (offset === ADVICE_OFFSET ? ADVICE_BYTES - 8 : TEXT_MAX_BYTES), 'room for the text');
    view.setUint32(offset, key, true);
    view.setUint32(offset + 4, data.length, true);
    bytes.set(data, offset + 8);
  };
  bytes.set(HANDLER_CODE);
  [...threads].forEach(([id, text], index) => {
    put(THREADS_OFFSET + index * TEXT_BYTES, text, id);
  });
  put(THREADS_OFFSET + threads.size * TEXT_BYTES, otherThread);
  put(ADVICE_OFFSET, advice);
  for (let call = 0; call <= CALLS_MAX; call++) put(CALLS_OFFSET + call * TEXT_BYTES, calls.get(call) ?? otherCall);
  mprotect(address, SIZE_BYTES, Prot.READ | Prot.EXEC);
  const handler = Number(address);
  // It never returns: no restorer is used.
  setSignalAction(Signal.SIGSYS, { handler, restorer: handler, flags: SignalActionFlag.SIGINFO });
}

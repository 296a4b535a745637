/**
 * System calls made by every thread of this process but the caller, for what the kernel keeps per thread: capabilities, the bounding
 * set, secure bits. A signal whose handler is machine code makes them, as the C library itself does for setuid(2), nptl(7): V8's and
 * libuv's threads exist before the first line of a program runs, and take no other requests.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { assert } from '#util/assert.ts';
import { bufferOver } from './ffi.ts';
import { MapFlag, mmap, mprotect, PAGE_SIZE_BYTES, Prot } from './memory.ts';
import { gettid, tgkill } from './signal.ts';
import { SignalActionFlag, setSignalAction } from './signal-action.ts';
import { Errno, SyscallError } from './syscall-error.ts';

/**
 * The C library's own signal for its setuid(2), nptl(7): its functions keep programs from blocking it, and Node has a thread that
 * blocks every other. For the same reason it is installed without them.
 */
const SIGSETXID = 33;

/** handler(): makes the calls of the table on the next page, up to the one of number 0, and counts one up. */
// biome-ignore format: an instruction a line
const HANDLER_CODE = Uint8Array.of(
  0xf3, 0x0f, 0x1e, 0xfa,                   // endbr64
  0x53,                                     // push rbx
  0x48, 0x8d, 0x1d, 0xf4, 0x0f, 0x00, 0x00, // lea  rbx, [rip + 0xff4]   12 + 0xff4 is the next page's start
  0x8b, 0x03,                               // mov  eax, [rbx]
  0x85, 0xc0,                               // test eax, eax
  0x74, 0x1c,                               // je   to the inc
  0x48, 0x8b, 0x7b, 0x08,                   // mov  rdi, [rbx + 8]
  0x48, 0x8b, 0x73, 0x10,                   // mov  rsi, [rbx + 16]
  0x48, 0x8b, 0x53, 0x18,                   // mov  rdx, [rbx + 24]
  0x4c, 0x8b, 0x53, 0x20,                   // mov  r10, [rbx + 32]
  0x4c, 0x8b, 0x43, 0x28,                   // mov  r8, [rbx + 40]
  0x0f, 0x05,                               // syscall
  0x48, 0x83, 0xc3, 0x30,                   // add  rbx, 48
  0xeb, 0xde,                               // jmp  to the mov eax
  0xf0, 0xff, 0x05, 0xc3, 0x1f, 0x00, 0x00, // lock inc dword [rip + 0x1fc3]   53 + 0x1fc3 is COUNTER_OFFSET
  0x5b,                                     // pop  rbx
  0xc3,                                     // ret
  0xb8, 0x0f, 0x00, 0x00, 0x00,             // mov  eax, 15              rt_sigreturn: the restorer
  0x0f, 0x05,                               // syscall
);
const RESTORER_OFFSET = 55;
/** How many threads have made the calls, at the end of the second page. */
const COUNTER_OFFSET = 8184;

/** A thread whose signal was never delivered. */
const ENDED_WAIT_MS = 100;

const ENTRY_BYTES = 48;
const ARGUMENTS_MAX = 5;
/** At the end of the page of calls, the counter included. */
const DATA_MAX_BYTES = 512;
const CALLS_MAX = (PAGE_SIZE_BYTES - DATA_MAX_BYTES) / ENTRY_BYTES - 1;

/** A call and up to five arguments; a Uint8Array is memory whose address is the argument, 512 bytes in all. */
export interface ThreadCall {
  /** Of arch/x86/entry/syscalls/syscall_64.tbl, above 0. */
  readonly number: number;
  readonly arguments: readonly (number | Uint8Array)[];
}

/** The threads of this process. */
export function threadIds(): number[] {
  return readdirSync('/proc/self/task').map(Number);
}

/** What /proc/self/task/ID/status says of a thread, proc(5); undefined for one that has ended. */
export function threadStatus(id: number): string | undefined {
  try {
    return readFileSync(`/proc/self/task/${id}/status`, 'latin1');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/**
 * Has every thread but the caller make these calls, one after another, whatever they return. `isDone` is asked every millisecond
 * whether all of them have: what the calls have done is to be seen in /proc/self/task. Returns false when that has not come true
 * in time. Throws SyscallError.
 */
export function callOnOtherThreads(
  calls: readonly ThreadCall[],
  { isDone, timeoutMs }: { readonly isDone: () => boolean; readonly timeoutMs: number },
): boolean {
  const { address, counter } = mapHandler(calls);
  installHandler(address);
  const known = new Set([gettid()]);
  const pause = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs++) {
    // Also those that a thread has started before its own turn.
    for (const id of threadIds()) {
      if (!known.has(id)) signalThread(id);
      known.add(id);
    }
    // All of them: a call that comes late could be one that is not allowed any more. A thread that has ended is not waited for long.
    const isEveryoneBack = Atomics.load(counter, 0) === known.size - 1 || waitedMs >= ENDED_WAIT_MS;
    if (isEveryoneBack && isDone()) return true;
    Atomics.wait(pause, 0, 0, 1);
  }
  return false;
}

/** A thread may end meanwhile. */
function signalThread(id: number): void {
  try {
    tgkill(id, SIGSETXID);
  } catch (error) {
    if (!(error instanceof SyscallError && error.errno === Errno.ESRCH)) throw error;
  }
}

/** Code and table, never unmapped: a thread may still be about to return from there. */
function mapHandler(calls: readonly ThreadCall[]): { readonly address: number; readonly counter: Int32Array } {
  assert(calls.length <= CALLS_MAX, 'the calls fit into their page');
  const sizeBytes = 2 * PAGE_SIZE_BYTES;
  const address = mmap({ sizeBytes, prot: Prot.READ | Prot.WRITE, flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS });
  const buffer = bufferOver(address, sizeBytes);
  const bytes = new Uint8Array(buffer);
  bytes.set(HANDLER_CODE);
  const table = new DataView(buffer, PAGE_SIZE_BYTES);
  let dataOffset = sizeBytes - DATA_MAX_BYTES;
  const put = (data: Uint8Array): number => {
    assert(dataOffset + data.length <= COUNTER_OFFSET, 'the memory of the arguments fits into its room');
    const offset = dataOffset;
    bytes.set(data, offset);
    dataOffset += (data.length + 7) & ~7;
    return Number(address) + offset;
  };
  for (const [index, { number, arguments: values }] of calls.entries()) {
    assert(number > 0 && values.length <= ARGUMENTS_MAX, 'a call that ends no table, with arguments in registers');
    table.setUint32(index * ENTRY_BYTES, number, true);
    for (const [position, value] of values.entries()) {
      const word = typeof value === 'number' ? value : put(value);
      table.setBigUint64(index * ENTRY_BYTES + 8 + 8 * position, BigInt(word), true);
    }
  }
  mprotect(address, PAGE_SIZE_BYTES, Prot.READ | Prot.EXEC);
  return { address: Number(address), counter: new Int32Array(buffer, COUNTER_OFFSET, 1) };
}

/** It stays: with the default action a signal that comes late would end the process. The C library puts its own in its place when it needs one. */
function installHandler(handler: number): void {
  setSignalAction(SIGSETXID, { handler, restorer: handler + RESTORER_OFFSET, flags: SignalActionFlag.RESTART });
}

/** The one locked instruction that no language here has: CMPXCHG16B, as machine code of this process's own. */
import { functionAt, mapForever, Protection, protect } from './native-code.ts';

/**
 * Compares the 16 bytes at `target`, which must be a multiple of 16, with those at `block`, and where they are the same replaces them
 * by those at `block` + 16, as one step. The old bytes are at `block` then.
 */
export type CompareExchange16 = (target: number, block: number) => void;

/** RDI: target, RSI: block (System V ABI). */
const CODE = Uint8Array.fromHex(
  [
    'f30f1efa', // endbr64
    '53', // push rbx
    '488b06', // mov rax, [rsi]
    '488b5608', // mov rdx, [rsi + 8]
    '488b5e10', // mov rbx, [rsi + 16]
    '488b4e18', // mov rcx, [rsi + 24]
    'f0480fc70f', // lock cmpxchg16b [rdi]
    '488906', // mov [rsi], rax
    '48895608', // mov [rsi + 8], rdx
    '5b', // pop rbx
    'c3', // ret
  ].join(''),
);

let made: CompareExchange16 | undefined;

/** Makes the function, once in each thread, before a filter forbids it. Throws SyscallError where the host has no executable memory. */
export function compareExchange16(): CompareExchange16 {
  if (made !== undefined) return made;
  const { address, bytes } = mapForever({ sizeBytes: 4096, protection: Protection.READ | Protection.WRITE });
  bytes.set(CODE);
  protect(address, 4096, Protection.READ | Protection.EXECUTE);
  made = functionAt<CompareExchange16>(address, 'void (uintptr_t, uintptr_t)');
  return made;
}

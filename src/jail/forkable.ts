/** Makes a process of V8's one whose children have all of its memory. docs/decisions/0011-fork-without-exec.md has the reasons. */
import { Advice } from '#sys/memory.ts';
import { inheritMappings, keepRingsFromChildren } from '#sys/process.ts';
import { installSeccompFilter, SeccompFlag, setNoNewPrivileges } from '#sys/seccomp.ts';
import { assert } from '#util/assert.ts';
import { returnValue } from './seccomp/action.ts';
import { AARCH64, type Architecture, X86_64 } from './seccomp/architecture.ts';
import { Code, encode, type Instruction } from './seccomp/bpf.ts';

/** Words of `struct seccomp_data`, uapi/linux/seccomp.h; of an argument the lower one. */
const WORD = { CALL: 0, ARCH: 4, ARGUMENT_2: 32 } as const;
const ARCHITECTURES: Readonly<Record<string, Architecture>> = { x64: X86_64, arm64: AARCH64 };

/** A filter under which madvise(MADV_DONTFORK) does nothing and succeeds; all else is allowed. */
export function keepForkableFilter({ auditArch, systemCalls }: Architecture): readonly Instruction[] {
  const madvise = systemCalls.get('madvise');
  assert(madvise !== undefined, 'every architecture has madvise');
  const load = (k: number): Instruction => ({ code: Code.LOAD, jt: 0, jf: 0, k });
  const give = (k: number): Instruction => ({ code: Code.RETURN, jt: 0, jf: 0, k });
  const tests = [
    [WORD.ARCH, auditArch],
    [WORD.CALL, madvise],
    [WORD.ARGUMENT_2, Advice.DONTFORK],
  ] as const;
  return [
    ...tests.flatMap(([word, value], index) => {
      // Over the rest of the tests and the first of the two returns.
      const jf = 2 * (tests.length - 1 - index) + 1;
      return [load(word), { code: Code.JUMP_EQUAL, jt: 0, jf, k: value }];
    }),
    give(returnValue({ errno: 0 })),
    give(returnValue('allow')),
  ];
}

/** Once, before the first fork: what is mapped now and from now on is in every child. Throws SyscallError. */
export function makeForkable(): void {
  const architecture = ARCHITECTURES[process.arch];
  assert(architecture !== undefined, 'an architecture that is supported');
  setNoNewPrivileges();
  // Later the filter would keep them for children too.
  keepRingsFromChildren();
  // In every thread: measured, V8's worker maps pages too.
  installSeccompFilter(encode(keepForkableFilter(architecture)), SeccompFlag.TSYNC);
  inheritMappings();
}

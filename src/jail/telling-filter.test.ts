import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '#util/struct.ts';
import { returnValue } from './seccomp/action.ts';
import { X86_64 } from './seccomp/architecture.ts';
import { encode, type Instruction, SockFilter } from './seccomp/bpf.ts';
import { compilePolicy, policyPath } from './seccomp/compile.ts';
import { runProgram } from './seccomp/testing-bpf.ts';
import { killing } from './telling-filter.ts';

test('without a listener the same filter kills for what it would have told, and allows the rest', () => {
  const path = policyPath(X86_64, 'rng_device');
  const telling = compilePolicy({ path, architecture: X86_64, defaultAction: 'tell' });
  const bytes = killing(encode(telling));
  const changed: Instruction[] = telling.map((_, index) => SockFilter.decode(viewOf(bytes), index * SockFilter.size));
  const args = [0n, 0n, 0n, 0n, 0n, 0n];
  for (const call of X86_64.systemCalls.values()) {
    const data = { call, arch: X86_64.auditArch, args };
    const before = runProgram(telling, data);
    const after = before === returnValue('tell') ? returnValue('kill-process') : before;
    assert.equal(runProgram(changed, data), after, `call ${call}`);
  }
  assert.equal(runProgram(changed, { call: 59, arch: X86_64.auditArch, args }), returnValue('kill-process'));
});

/** The tables of system calls and constants against a C compiler and the headers here. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { AARCH64, type Architecture, X86_64 } from '#jail/seccomp/architecture.ts';
import {
  aarch64Options,
  constantValues,
  KERNEL_HEADERS,
  LIBRARY_HEADERS,
  macroNames,
  type Preprocessing,
  systemCalls,
} from '../../../tools/seccomp-tables.ts';

/** Where Debian's linux-libc-dev-arm64-cross puts the headers of aarch64. */
const AARCH64_HEADERS = '/usr/aarch64-linux-gnu/include';

const compiler = spawnSync('cc', ['--version']).status === 0;
const headers =
  compiler && spawnSync('cc', ['-fsyntax-only', '-include', 'linux/seccomp.h', '-x', 'c', '/dev/null']).status === 0;
const skip = headers ? false : 'there is no C compiler (cc) or there are no Linux headers on this machine';

/** What asm/unistd.h of aarch64 defines before it includes the generic numbers. */
const AARCH64_WANTS = ['RENAMEAT', 'NEW_STAT', 'SET_GET_RLIMIT', 'TIME32_SYSCALLS', 'SYS_CLONE3', 'MEMFD_SECRET'].map(
  (name) => `-D__ARCH_WANT_${name}`,
);

/** Entries that the headers here have too, with both values; headers may be older or newer than the table's. */
function common(table: ReadonlyMap<string, number>, here: Readonly<Record<string, bigint>>) {
  const names = [...table.keys()].filter((name) => here[name] !== undefined);
  const ours = Object.fromEntries(names.map((name) => [name, BigInt(table.get(name) as number)]));
  const theirs = Object.fromEntries(names.map((name) => [name, here[name]]));
  return { count: names.length, ours, theirs };
}

function checkCalls(architecture: Architecture, preprocessing: Preprocessing): void {
  const { count, ours, theirs } = common(architecture.systemCalls, systemCalls(preprocessing));
  assert.ok(count >= 290, `${count} system calls compared`);
  assert.deepEqual(ours, theirs);
}

function constantsHere(preprocessing: Preprocessing, names: readonly string[]): Record<string, bigint> {
  const defined = new Set(macroNames(preprocessing));
  return constantValues(
    preprocessing,
    names.filter((name) => defined.has(name)),
  );
}

describe('tables', { skip }, () => {
  test("x86_64's system calls are those of asm/unistd_64.h", (context) => {
    if (process.arch !== 'x64') return context.skip('the headers here are of another architecture');
    checkCalls(X86_64, { headers: ['asm/unistd_64.h'], options: [] });
  });

  test("aarch64's system calls are those of asm-generic/unistd.h", () => {
    checkCalls(AARCH64, { headers: ['asm-generic/unistd.h'], options: ['-D__BITS_PER_LONG=64', ...AARCH64_WANTS] });
  });

  test("x86_64's constants are those of the headers", (context) => {
    if (process.arch !== 'x64') return context.skip('the headers here are of another architecture');
    const names = [...X86_64.constants.keys()];
    const here = {
      ...constantsHere({ headers: LIBRARY_HEADERS, options: ['-D_GNU_SOURCE'] }, names),
      ...constantsHere({ headers: KERNEL_HEADERS, options: [] }, names),
    };
    const { count, ours, theirs } = common(X86_64.constants, here);
    assert.ok(count >= 1000, `${count} constants compared`);
    assert.deepEqual(ours, theirs);
  });

  const skipAarch64 = existsSync(AARCH64_HEADERS) ? false : `there are no headers of aarch64 in ${AARCH64_HEADERS}`;
  test("aarch64's constants are those of the headers", { skip: skipAarch64 }, () => {
    const preprocessing = { headers: KERNEL_HEADERS, options: aarch64Options(AARCH64_HEADERS) };
    const { ours, theirs } = common(AARCH64.constants, constantsHere(preprocessing, [...AARCH64.constants.keys()]));
    assert.deepEqual(ours, theirs);
  });
});

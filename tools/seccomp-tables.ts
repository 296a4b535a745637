/**
 * node tools/seccomp-tables.ts FOLDER: writes src/jail/seccomp/tables/ from the Linux headers, with the C compiler as `cc`.
 * FOLDER holds the headers of aarch64, as Debian's linux-libc-dev-arm64-cross installs them
 * (/usr/aarch64-linux-gnu/include); those of x86_64 are the system's own. test/integration/jail/tables.test.ts compares
 * the tables with the compiler again.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const TABLES = resolve(import.meta.dirname, '../src/jail/seccomp/tables');

/** Headers of the kernel whose constants system calls are given; some lie in asm/ and differ between architectures. */
export const KERNEL_HEADERS = [
  'stddef.h',
  ...'errno ioctls mman poll signal socket'.split(' ').map((name) => `asm/${name}.h`),
  ...'close_range eventpoll falloc fcntl fs futex if_tun in membarrier'.split(' ').map((name) => `linux/${name}.h`),
  ...'memfd mman prctl random resource sched seccomp stat time tcp un vhost'
    .split(' ')
    .map((name) => `linux/${name}.h`),
];

/** The C library's, the same on every architecture of these tables: what the kernel's public headers leave out. */
export const LIBRARY_HEADERS = [
  'sys/socket.h',
  'sys/timerfd.h',
  'sys/eventfd.h',
  'sys/signalfd.h',
  'sys/mman.h',
  'errno.h',
  'fcntl.h',
];

const KERNEL_PREFIXES = [
  ...'AT CLOCK CLONE CLOSE_RANGE EPOLL F FALLOC_FL FD FS_IOC FUTEX GRND IPPROTO MADV MAP MEMBARRIER_CMD MFD'.split(' '),
  ...'MREMAP MS O PR PROT RLIMIT RWF SCHED SECCOMP SEEK SIG SO SOL STATX S TCP TIMER TUN VHOST'.split(' '),
];
const KERNEL_NAMES = new RegExp(
  `^(?:(?:${KERNEL_PREFIXES.join('|')})_[A-Z0-9_]+|(?:E|SIG|BLK|FIO|POLL|TUN|TIOC|TC[GS]ET)[A-Z0-9]+)$`,
);
const LIBRARY_NAMES = /^(?:(?:AF|MSG|PF|SHUT|SOCK|TFD|EFD|SFD)_[A-Z0-9_]+|ENOTSUP|MAP_ANON|O_ASYNC)$/;
/** Names of what no call is given: guards of headers, sizes, masks that grow with the kernel. */
const UNWANTED = /_(?:H|MAX|LAST|BEGIN|END|SUPPORTED)$|^(?:SIGRT|SIGSTKSZ|O_TMPFILE_MASK|SCHED_FLAG_ALL)/;

export interface Preprocessing {
  readonly headers: readonly string[];
  /** Options of cc that choose the architecture. */
  readonly options: readonly string[];
}

function cc(options: readonly string[], source: string): { readonly status: number; output: string; errors: string } {
  const { status, stdout, stderr, error } = spawnSync('cc', [...options, '-x', 'c', '-'], {
    input: source,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    // Errors are read below.
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (error) throw error;
  return { status: status ?? 1, output: stdout, errors: stderr };
}

/** Names of the macros without parameters that the headers define. */
export function macroNames({ headers, options }: Preprocessing): string[] {
  const source = headers.map((header) => `#include <${header}>\n`).join('');
  const { status, output, errors } = cc(['-E', '-dM', ...options], source);
  if (status !== 0) throw new Error(errors);
  return [...output.matchAll(/^#define (\w+)[ \n]/gm)].map(([, name]) => name as string).sort();
}

/** The values, as 64 signed bits, of those names that are integer constants. */
export function constantValues(preprocessing: Preprocessing, names: readonly string[]): Record<string, bigint> {
  const includes = preprocessing.headers.map((header) => `#include <${header}>\n`).join('');
  const folder = mkdtempSync(join(tmpdir(), 'seccomp-tables-'));
  try {
    let rest = [...names];
    for (;;) {
      const lines = rest.map((name) => `{ static const long long v = (${name}); printf("${name} %lld\\n", v); }`);
      const start = includes.split('\n').length + 1;
      const source = `${includes}int printf(const char *, ...);\nint main(void) {\n${lines.join('\n')}\nreturn 0; }\n`;
      const program = join(folder, 'values');
      const { status, errors } = cc([...preprocessing.options, '-w', '-Werror=int-conversion', '-o', program], source);
      if (status === 0) {
        const { stdout } = spawnSync(program, { encoding: 'utf8', maxBuffer: 2 ** 26 });
        const values = [...stdout.matchAll(/^(\w+) (-?\d+)$/gm)];
        return Object.fromEntries(values.map(([, name, value]) => [name as string, BigInt(value as string)]));
      }
      // What does not compile as a constant is a type, a string or needs a header that the names do not justify.
      const wrong = new Set(
        [...errors.matchAll(/^<stdin>:(\d+):\d+: error/gm)].map(([, line]) => Number(line) - start - 1),
      );
      const kept = rest.filter((_, index) => !wrong.has(index));
      if (kept.length === rest.length) throw new Error(errors);
      rest = kept;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The compiler's options for the headers of aarch64 on any 64-bit machine; stdint.h is the compiler's own. */
export function aarch64Options(folder: string): string[] {
  const own = spawnSync('cc', ['-print-file-name=include'], { encoding: 'utf8' }).stdout.trim();
  return ['-nostdinc', '-ffreestanding', '-U__x86_64__', '-D__aarch64__', '-isystem', folder, '-isystem', own];
}

/** `__NR_` numbers of a header of system calls. */
export function systemCalls(preprocessing: Preprocessing): Record<string, bigint> {
  const names = macroNames(preprocessing).filter(
    (name) => /^__NR_[a-z_]\w*$/.test(name) && !/^__NR_(?:arch_specific_syscall|syscalls)$/.test(name),
  );
  const values = Object.entries(constantValues(preprocessing, names));
  return Object.fromEntries(values.map(([name, value]) => [name.slice('__NR_'.length), value]));
}

function wanted(preprocessing: Preprocessing, pattern: RegExp): Record<string, bigint> {
  return constantValues(
    preprocessing,
    macroNames(preprocessing).filter((name) => pattern.test(name) && !UNWANTED.test(name)),
  );
}

/** Writes one table. All values of these headers fit a number exactly. */
function write(file: string, comment: string, name: string, values: Record<string, bigint>): void {
  const entries = Object.entries(values).sort((a, b) => (name === 'SYSTEM_CALLS' ? Number(a[1] - b[1]) : 0));
  const lines = entries.map(([key, value]) => {
    if (!Number.isSafeInteger(Number(value))) throw new Error(`${key} is ${value}`);
    return `  ${key}: ${name === 'SYSTEM_CALLS' || value < 10n ? value : `0x${value.toString(16)}`},`;
  });
  const text = `/** Generated by tools/seccomp-tables.ts from ${comment}. */\nexport const ${name}: Readonly<Record<string, number>> = {\n${lines.join('\n')}\n};\n`;
  writeFileSync(join(TABLES, file), text);
}

function main(aarch64Folder: string): void {
  const x86: Preprocessing = { headers: KERNEL_HEADERS, options: [] };
  const arm: Preprocessing = { headers: KERNEL_HEADERS, options: aarch64Options(aarch64Folder) };
  const version = 'Linux 6.1';
  write(
    'x86_64-calls.generated.ts',
    `asm/unistd_64.h of ${version}`,
    'SYSTEM_CALLS',
    systemCalls({ headers: ['asm/unistd_64.h'], options: [] }),
  );
  write(
    'aarch64-calls.generated.ts',
    `asm-generic/unistd.h of ${version}, as aarch64's asm/unistd.h includes it`,
    'SYSTEM_CALLS',
    systemCalls({ headers: ['asm/unistd.h'], options: arm.options }),
  );
  const x86Values = wanted(x86, KERNEL_NAMES);
  const armValues = wanted(arm, KERNEL_NAMES);
  const same = ([name, value]: [string, bigint]) => x86Values[name] === value && armValues[name] === value;
  const only = (values: Record<string, bigint>, test: (entry: [string, bigint]) => boolean) =>
    Object.fromEntries(Object.entries(values).filter(test));
  const library = wanted({ headers: LIBRARY_HEADERS, options: ['-D_GNU_SOURCE'] }, LIBRARY_NAMES);
  write(
    'common-constants.generated.ts',
    `headers of ${version} where x86_64 and aarch64 agree, and of the C library`,
    'CONSTANTS',
    {
      ...library,
      ...only(x86Values, same),
    },
  );
  write(
    'x86_64-constants.generated.ts',
    `headers of ${version} where aarch64 differs`,
    'CONSTANTS',
    only(x86Values, (entry) => !same(entry)),
  );
  write(
    'aarch64-constants.generated.ts',
    `headers of ${version} where x86_64 differs`,
    'CONSTANTS',
    only(armValues, (entry) => !same(entry)),
  );
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('usage: node tools/seccomp-tables.ts FOLDER');
  main(resolve(folder));
}

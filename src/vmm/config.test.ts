import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CommandLineError } from '#kernel/command-line.ts';
import { KernelLoadError } from '#kernel/kernel-load-error.ts';
import {
  type Config,
  ConfigError,
  configMistakes,
  controlSocketPath,
  MEMORY_MIB,
  mistakesIn,
  pathMistake,
  type SerialConfig,
  withDefaultConsole,
} from './config.ts';
import type { FileKind, HostFiles } from './host-files.ts';

interface FakeFile {
  readonly kind: FileKind;
  readonly sizeBytes?: number;
  readonly denied?: boolean;
}

function fakeFiles(files: Readonly<Record<string, FakeFile>>): HostFiles {
  const fail = (code: string) => {
    throw Object.assign(new Error(code), { code });
  };
  const find = (path: string): FakeFile => files[path] ?? fail(path.startsWith('file/') ? 'ENOTDIR' : 'ENOENT');
  const access = (path: string) => void (find(path).denied === true && fail('EACCES'));
  return {
    stat: (path) => ({ kind: find(path).kind, sizeBytes: find(path).sizeBytes ?? 0 }),
    assertReadable: access,
    assertWritable: access,
  };
}

const files = fakeFiles({
  '.': { kind: 'directory' },
  kernel: { kind: 'file', sizeBytes: 9000 },
  empty: { kind: 'file' },
  secret: { kind: 'file', sizeBytes: 1, denied: true },
  file: { kind: 'file', sizeBytes: 1 },
  folder: { kind: 'directory' },
  locked: { kind: 'directory', denied: true },
  socket: { kind: 'socket' },
  pipe: { kind: 'pipe' },
  big: { kind: 'file', sizeBytes: 150 * 2 ** 20 },
});

const port: SerialConfig = { hardware: 'serial', num: 1, type: 'stdout', console: true, stdin: true };
const second: SerialConfig = { hardware: 'serial', num: 2, type: 'sink', console: false, stdin: false };
const good: Config = {
  kernelPath: 'kernel',
  initrdPaths: [],
  params: [],
  memoryMib: 256,
  cpus: 1,
  serial: [port],
  hypervisor: 'auto',
  disks: [],
  nets: [],
  inputs: [],
  pmems: [],
  sharedDirs: [],
  sandbox: true,
  seccompLogFailures: false,
  logLevel: 'warn',
  stats: false,
};

const lines = (changes: Partial<Config>) =>
  configMistakes({ ...good, ...changes }, files).map(({ option, message }) => `${option}: ${message}`);

describe('configMistakes', () => {
  test('--input: a socket that is there, and sizes in their range', () => {
    const size = (width: number, height: number) =>
      lines({ inputs: [{ kind: 'trackpad', path: 'socket', size: { width, height } }] });
    assert.deepEqual([...size(1, 1), ...size(2 ** 31 - 1, 2 ** 31 - 1)], []);
    assert.deepEqual(size(0, 2 ** 31), [
      '--input: 0 as width or height: must be 1 to 2147483647',
      '--input: 2147483648 as width or height: must be 1 to 2147483647',
    ]);
    const at = (path: string) => lines({ inputs: [{ kind: 'keyboard', path }] });
    assert.deepEqual(at('socket'), []);
    assert.deepEqual(at('file'), ['--input: "file": is a file, not a socket']);
    assert.deepEqual(at('no-such'), ['--input: "no-such": does not exist']);
    assert.deepEqual(at(''), ['--input: "": needs a path']);
    const many = Array.from({ length: 5 }, () => ({ kind: 'mouse', path: 'socket' }) as const);
    assert.deepEqual(lines({ inputs: many.slice(1) }), []);
    assert.deepEqual(lines({ inputs: many }), ['--input: at most 4 devices are possible']);
  });

  test('--vsock: a context id and a path that can be had, and their neighbours', () => {
    const vsock = (cid: number, socketPath: string) => lines({ vsock: { cid, socketPath } });
    for (const cid of [3, 0xffff_fffe]) assert.deepEqual(vsock(cid, 'socket'), []);
    for (const cid of [2, 0xffff_ffff]) {
      assert.deepEqual(vsock(cid, 'socket'), [`--vsock: ${cid} as the context id: must be 3 to 4294967294`]);
    }
    assert.deepEqual(vsock(3, 'kernel'), ['--vsock: socket "kernel": is a file, not a socket']);
    assert.deepEqual(vsock(3, 'no-such/socket'), ['--vsock: socket "no-such/socket": there is no directory "no-such"']);
    assert.deepEqual(vsock(3, 'x'.repeat(97)), [
      `--vsock: socket "${'x'.repeat(97)}": 97 bytes; it has at most 96, since a port follows it`,
    ]);
  });

  test('--pmem: files that are not empty, few enough, and one root among them and the disks', () => {
    const pmem = (path: string, root = false) => ({ path, readOnly: false, root });
    const disk = {
      format: undefined,
      readOnly: true,
      root: true,
      sparse: true,
      blockSizeBytes: 512,
      id: '',
      lock: true,
      option: '--rwroot',
      queueCount: 1,
    } as const;
    const four = Array.from({ length: 4 }, () => pmem('kernel'));
    assert.deepEqual(lines({ pmems: four }), []);
    assert.deepEqual(lines({ pmems: [pmem('kernel', true), pmem('kernel')] }), []);
    assert.deepEqual(lines({ pmems: [...four, pmem('kernel')] }), [
      '--pmem: at most 4 persistent memory devices are possible',
    ]);
    assert.deepEqual(lines({ pmems: [pmem('none'), pmem('empty')] }), [
      '--pmem: "none": does not exist',
      '--pmem: "empty": is empty',
    ]);
    const onlyOne = 'one disk can be the root';
    assert.deepEqual(lines({ pmems: [pmem('kernel', true), pmem('kernel', true)] }), [`--pmem: ${onlyOne}`]);
    const disks = [{ ...disk, path: 'kernel' }];
    assert.deepEqual(lines({ disks, pmems: [pmem('kernel', true)] }), [`--pmem: ${onlyOne}`]);
    assert.deepEqual(lines({ disks: [...disks, ...disks] }), [`--rwroot: ${onlyOne}`]);
  });

  test('more devices than the PCI bus has room for', () => {
    const disk = { format: undefined, readOnly: true, sparse: true, blockSizeBytes: 512, id: '', lock: true } as const;
    const own = { option: '--block', path: 'kernel', root: false, queueCount: 1 } as const;
    const disks = Array.from({ length: 26 }, () => ({ ...disk, ...own }));
    const pmems = Array.from({ length: 3 }, () => ({ path: 'kernel', readOnly: false, root: false }));
    assert.deepEqual(lines({ disks, pmems }), []);
    assert.deepEqual(lines({ disks, pmems, vsock: { cid: 3, socketPath: 'socket' } }), [
      '--block: 30 disks, networks and other devices; the PCI bus has room for 29 besides entropy and balloon',
    ]);
  });

  test('a good configuration has none', () => {
    assert.deepEqual(lines({}), []);
  });

  test('the bounds of memory are in range, and their neighbours are not', () => {
    assert.deepEqual(lines({ memoryMib: MEMORY_MIB.min }), []);
    assert.deepEqual(lines({ memoryMib: MEMORY_MIB.max }), []);
    assert.deepEqual(lines({ memoryMib: 31 }), ['--mem: 31 MiB: must be 32 to 3328']);
    assert.deepEqual(lines({ memoryMib: 3329 }), ['--mem: 3329 MiB: must be 32 to 3328']);
  });

  const cases: readonly [string, Partial<Config>, string][] = [
    ['no memory at all', { memoryMib: Number.NaN }, '--mem: NaN MiB: must be 32 to 3328'],
    ['half a processor', { cpus: 0.5 }, '--cpus: 0.5 processors: must be 1 to 16'],
    ['too many processors', { cpus: 17 }, '--cpus: 17 processors: must be 1 to 16'],
    [
      'affinity of a processor that is not there',
      { cpus: 2, cpuAffinity: [{ vcpu: 2, hostCpus: [0] }] },
      '--cpu-affinity: there is no vCPU 2: the machine has 2, from 0 on',
    ],
    [
      'affinity given twice',
      { cpuAffinity: [0, 1].map((cpu) => ({ vcpu: 0, hostCpus: [cpu] })) },
      '--cpu-affinity: vCPU 0 is given twice',
    ],
    ['no kernel', { kernelPath: '' }, 'KERNEL: missing: give the path of a file'],
    ['an absent kernel', { kernelPath: 'none' }, 'KERNEL: "none": does not exist'],
    ['a kernel below a file', { kernelPath: 'file/x' }, 'KERNEL: "file/x": a part of the path is not a directory'],
    ['a directory as kernel', { kernelPath: 'folder' }, 'KERNEL: "folder": is a directory, not a file'],
    ['a pipe as kernel', { kernelPath: 'pipe' }, 'KERNEL: "pipe": is a pipe, not a file'],
    ['an empty kernel', { kernelPath: 'empty' }, 'KERNEL: "empty": is empty'],
    ['an unreadable kernel', { kernelPath: 'secret' }, 'KERNEL: "secret": permission denied'],
    ['an absent initrd', { initrdPaths: ['none'] }, '--initrd: "none": does not exist'],
    ['an empty initrd', { initrdPaths: ['file', 'empty'] }, '--initrd: "empty": is empty'],
    ['a control socket without a path', { socketPath: '' }, '--socket: needs a path'],
    ['a file as control socket', { socketPath: 'file' }, '--socket: "file": is a file, not a socket'],
    ['a control socket nowhere', { socketPath: 'none/vm' }, '--socket: "none/vm": there is no directory "none"'],
    [
      'a control socket in a directory that is not writable',
      { socketPath: 'locked/vm' },
      '--socket: "locked/vm": permission denied',
    ],
    [
      'a control socket of 108 bytes',
      { socketPath: 'ä'.repeat(54) },
      `--socket: "${'ä'.repeat(54)}": 108 bytes; a socket's path has at most 107`,
    ],
    [
      'initrds that together exceed memory',
      { initrdPaths: ['big', 'big'] },
      "--initrd: 300 MiB do not fit into the machine's 256 MiB of memory (--mem)",
    ],
    [
      'parameters beyond the limit',
      { params: ['a'.repeat(2000), 'b'.repeat(47)] },
      '--params: kernel command line: 2048 bytes; the kernel takes at most 2047',
    ],
    [
      'a line break in a parameter',
      { params: ['a\nb', 'quiet'] },
      '--params: kernel command line: character U+000A at position 1: only printable ASCII is allowed',
    ],
  ];
  for (const [name, changes, line] of cases) {
    test(`${name} is one mistake`, () => {
      assert.deepEqual(lines(changes), [line]);
    });
  }

  test('a control socket may be new, stale, or in a directory, where it is named after the process', () => {
    for (const socketPath of ['new', 'socket', 'folder', 'x'.repeat(107)]) assert.deepEqual(lines({ socketPath }), []);
    assert.equal(controlSocketPath('folder', files), `folder/crosvm-${process.pid}.sock`);
    assert.equal(controlSocketPath('new', files), 'new');
  });

  test('parameters that fill the limit are accepted', () => {
    assert.deepEqual(lines({ params: ['a'.repeat(2000), 'b'.repeat(46)] }), []);
  });

  test('mistakes in all places are found together', () => {
    const found = lines({ cpus: 99, memoryMib: 1, kernelPath: '', initrdPaths: ['none'], serial: [port, port] });
    assert.deepEqual(
      [...new Set(found.map((line) => line.split(':')[0]))],
      ['--cpus', '--mem', '--serial', 'KERNEL', '--initrd'],
    );
  });
});

describe('configMistakes of serial ports', () => {
  const debugcon: SerialConfig = { ...second, hardware: 'debugcon', num: 1 };
  const file = (path: string): SerialConfig => ({ ...second, type: 'file', path });
  const unix = (path: string): SerialConfig => ({ ...second, type: 'unix', path });
  const { path: _path, ...pathless } = file('x');
  const longPath = 'p'.repeat(108);

  test('a debug console beside port 1, and files and sockets that can be used, are accepted', () => {
    assert.deepEqual(lines({ serial: [port, debugcon, file('new'), { ...file('file'), num: 3 }] }), []);
    assert.deepEqual(lines({ serial: [unix('socket')] }), []);
  });

  const cases: readonly [string, SerialConfig[], string][] = [
    ['a doubled port', [second, second], 'hardware=serial,num=2 is given twice'],
    ['a port outside 1 to 4', [{ ...second, num: 5 }], 'num=5: must be 1 to 4'],
    ['two consoles', [port, { ...second, console: true }], 'console=true is given to 2 ports; one can have it'],
    ['two readers of stdin', [port, { ...second, stdin: true }], 'stdin=true is given to 2 ports; one can have it'],
    [
      'a debug console with input',
      [{ ...debugcon, stdin: true }],
      'hardware=debugcon,num=1: the debug console has no input; stdin=true needs hardware=serial',
    ],
    ['a second debug console', [{ ...debugcon, num: 2 }], 'hardware=debugcon,num=2: there is one debug console, num=1'],
    ['a sink with a path', [{ ...second, path: 'x' }], 'type=sink takes no path'],
    ['a file without a path', [pathless], 'type=file needs a path'],
    ['a directory as output', [file('folder')], 'path "folder": is a directory, not a file'],
    ['an unwritable file', [file('secret')], 'path "secret": permission denied'],
    ['an output in no directory', [file('none/x')], 'path "none/x": there is no directory "none"'],
    ['an output in an unwritable directory', [file('locked/x')], 'path "locked/x": permission denied'],
    [
      'a file name that ends with a slash',
      [file('folder/x/')],
      'path "folder/x/": is a directory name, not a file name',
    ],
    ['an absent socket', [unix('none')], 'path "none": does not exist'],
    ['a file as socket', [unix('file')], 'path "file": is a file, not a socket'],
    [
      'a path too long for a socket',
      [unix(longPath)],
      `path "${longPath}": 108 bytes; a socket's path has at most 107`,
    ],
  ];
  for (const [name, serial, message] of cases) {
    test(`${name} is one mistake`, () => {
      assert.deepEqual(lines({ serial }), [`--serial: ${message}`]);
    });
  }
});

describe('withDefaultConsole', () => {
  test('adds port 1 on standard output and input to an empty list', () => {
    assert.deepEqual(withDefaultConsole([]), [port]);
  });

  test('leaves standard input to the port that has it', () => {
    const reader = { ...second, stdin: true };
    assert.deepEqual(withDefaultConsole([reader]), [{ ...port, stdin: false }, reader]);
  });

  test('adds nothing where port 1 or a console is given', () => {
    const sinkOne = { ...second, num: 1 };
    assert.deepEqual(withDefaultConsole([sinkOne]), [sinkOne]);
    const consoleTwo = { ...second, console: true };
    assert.deepEqual(withDefaultConsole([consoleTwo]), [consoleTwo]);
  });
});

describe('pathMistake', () => {
  test('says what the error of a call on a path means', () => {
    const error = Object.assign(new Error('open'), { code: 'EROFS' });
    assert.deepEqual(pathMistake('--serial', 'x', error), {
      option: '--serial',
      message: '"x": is on a read-only file system',
    });
  });

  for (const [code, meaning] of [
    ['ECONNREFUSED', 'nobody listens at this socket'],
    ['EPROTOTYPE', 'is a socket of the other kind: type=unix is for datagrams, type=unix-stream for a stream'],
  ] as const) {
    test(`says what ${code} of a connection means`, () => {
      const error = Object.assign(new Error('connect'), { code });
      assert.equal(pathMistake('--serial', 'x', error).message, `"x": ${meaning}`);
    });
  }

  test('an errno without words of its own is named', () => {
    const error = Object.assign(new Error('open'), { code: 'ETXTBSY' });
    assert.equal(pathMistake('--serial', 'x', error).message, '"x": cannot be used (ETXTBSY)');
  });

  test('throws on what is no error of a call', () => {
    assert.throws(() => pathMistake('--serial', 'x', new TypeError('bug')), TypeError);
  });
});

describe('mistakesIn', () => {
  test('an error of the kernel loader is about KERNEL, one of the initrd loader about --initrd', () => {
    const kernel = new KernelLoadError('KERNEL_EMPTY', 'k', 'the file is empty');
    assert.deepEqual(mistakesIn(kernel), [{ option: 'KERNEL', message: 'kernel "k": the file is empty' }]);
    const initrd = new KernelLoadError('INITRD_EMPTY', 'i', 'the file is empty');
    assert.deepEqual(mistakesIn(initrd), [{ option: '--initrd', message: 'initrd "i": the file is empty' }]);
  });

  test('a command line that the kernel does not take is about --params', () => {
    const error = new CommandLineError('CMDLINE_TOO_LONG', 'too long');
    assert.deepEqual(mistakesIn(error), [{ option: '--params', message: 'too long' }]);
  });

  test('any other error is none of the user', () => {
    assert.equal(mistakesIn(new TypeError('bug')), undefined);
  });
});

test('a ConfigError carries its mistakes and says them one a line', () => {
  const error = new ConfigError([
    { option: 'KERNEL', message: 'bad' },
    { option: '--mem', message: 'small' },
  ]);
  assert.equal(error.code, 'BAD_CONFIG');
  assert.equal(error.message, 'KERNEL: bad\n--mem: small');
});

/** What users, and those who make files for them, get wrong: the table of bad-input.test.ts. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { zstdCompressSync } from 'node:zlib';
import { appendSize, buildBzImage, buildElf, type TestElf, type TestSegment } from '#kernel/testing/images.ts';
import { COMMAND_LINE_MAX_BYTES } from '#vmm/config.ts';
import { code, tinyKernel } from './tiny-guest.ts';

export const MIB = 2 ** 20;
/** Many times what the limit on a refused run's memory allows: unpacking it would be seen. */
const BOMB_MIB = 1024;
const LOAD_ADDRESS = 0x100_0000;
const DATA = new Uint8Array(16).fill(0xf4);
const TOP = 2n ** 64n;

/** Makes one input at a path. */
export type Maker = (path: string) => void;

export interface BadInput {
  readonly what: string;
  /** Made in the working folder, beside the good kernel that is always there. */
  readonly files?: Readonly<Record<string, Maker>>;
  /** What follows `crosvm run`. */
  readonly argv: readonly string[];
  /** One line each on standard error, in this order: the option that is named, and the essence of the words. */
  readonly mistakes: readonly (readonly [option: string, words: RegExp])[];
}

/** The kernel in every working folder: it powers off at once, so that a run that is not refused ends too. */
export const GOOD_KERNEL = tinyKernel([code.powerOff, code.spin]);

const bytes =
  (data: Uint8Array | string): Maker =>
  (path) =>
    writeFileSync(path, data);
const folder: Maker = (path) => mkdirSync(path);
const unreadable: Maker = (path) => writeFileSync(path, 'x', { mode: 0 });
const readOnly: Maker = (path) => writeFileSync(path, 'x', { mode: 0o444 });

/** A file of zeros that takes no room on the disk. */
const zeros =
  (sizeBytes: number): Maker =>
  (path) => {
    writeFileSync(path, '');
    truncateSync(path, sizeBytes);
  };

/** A socket whose listener died without removing it. */
const deserted: Maker = (path) => {
  const listener = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', listener, path]);
};

const elf = (image: Partial<TestElf>): Maker =>
  bytes(buildElf({ segments: [{ address: LOAD_ADDRESS, data: DATA }], ...image }));
const segments = (...list: readonly Partial<TestSegment>[]): Maker =>
  elf({ segments: list.map((segment) => ({ address: LOAD_ADDRESS, data: DATA, ...segment })) });

/** A bzImage whose payload grows to `BOMB_MIB` and announces something else. */
const bomb =
  (image: { announcedBytes: number; initBytes: number }): Maker =>
  (path) => {
    const payload = appendSize(zstdCompressSync(new Uint8Array(BOMB_MIB * MIB)), image.announcedBytes);
    writeFileSync(path, buildBzImage({ payload, initBytes: image.initBytes }));
  };

const packedKernel = buildBzImage({ payload: appendSize(zstdCompressSync(GOOD_KERNEL), GOOD_KERNEL.length) });

/** A run of the file `bad`, with the least memory. */
function badKernel(what: string, make: Maker, words: RegExp): BadInput {
  return { what, files: { bad: make }, argv: ['--mem=32', 'bad'], mistakes: [['KERNEL', words]] };
}

export const KERNELS: readonly BadInput[] = [
  { what: 'no kernel', argv: [], mistakes: [['KERNEL', /^missing/]] },
  { what: 'a missing kernel', argv: ['bad'], mistakes: [['KERNEL', /"bad".* does not exist/]] },
  {
    what: 'a missing kernel whose name would forge a line and colour it',
    argv: ['no\ncrosvm: all is well\x1b[32m'],
    mistakes: [['KERNEL', /"no\\ncrosvm: all is well\\u001b\[32m".* does not exist/]],
  },
  badKernel('an empty kernel', bytes(''), /"bad".* empty/),
  badKernel('a folder as the kernel', folder, /"bad".* directory, not a file/),
  badKernel('a text as the kernel', bytes('#!/bin/sh\nexit 0\n'), /"bad".* neither an ELF image nor a bzImage/),
  badKernel('an ELF kernel cut in its header', bytes(GOOD_KERNEL.subarray(0, 40)), /"bad".* truncated/),
  badKernel('an ELF kernel cut in its last segment', bytes(GOOD_KERNEL.subarray(0, -1)), /"bad".* truncated/),
  badKernel('a bzImage cut in its setup header', bytes(packedKernel.subarray(0, 0x220)), /"bad".* truncated/),
  badKernel('a bzImage cut in its payload', bytes(packedKernel.subarray(0, -20)), /"bad".* truncated/),
  badKernel('an ELF kernel for aarch64', elf({ machine: 183 }), /"bad".* machine 183, not x86-64/),
  badKernel('a 32-bit ELF kernel', elf({ class: 1 }), /"bad".* not a 64-bit ELF/),
  badKernel('a big-endian ELF kernel', elf({ byteOrder: 2 }), /"bad".* not a little-endian ELF/),
  badKernel('an object file', elf({ type: 1 }), /"bad".* not executable/),
  badKernel(
    'a 32-bit bzImage',
    bytes(buildBzImage({ payload: DATA, extendedLoadFlags: 0 })),
    /"bad".* is a 32-bit kernel/,
  ),
];

export const HOSTILE_KERNELS: readonly BadInput[] = [
  badKernel('segments that overlap', segments({}, { address: LOAD_ADDRESS + 8 }), /"bad".* overlaps segment 0/),
  badKernel('a segment behind RAM', segments({ address: 32 * MIB - 8 }), /"bad".* outside the machine's RAM/),
  badKernel('a segment that wraps at 2^64', segments({ address: TOP - 8n }), /"bad".* outside the machine's RAM/),
  badKernel('a memory size that wraps', segments({ memoryBytes: TOP - 1n }), /"bad".* outside the machine's RAM/),
  badKernel('a file offset that wraps', segments({ offset: TOP - 8n }), /"bad".* truncated/),
  badKernel('a file size that wraps', segments({ fileBytes: TOP - 1n, memoryBytes: TOP - 1n }), /"bad".* truncated/),
  badKernel('a header table that wraps', elf({ programHeaderOffset: TOP - 8n }), /"bad".* truncated/),
  badKernel('65535 program headers', elf({ programHeaders: 0xffff }), /"bad".* 65535 program headers/),
  badKernel('program headers of no size', elf({ programHeaderBytes: 0 }), /"bad".* program headers of 0 bytes/),
  badKernel('a segment over the boot structures', segments({ address: 0x7000 }), /"bad".* below 1 MiB/),
  badKernel(
    'more of a segment in the file than in memory',
    segments({ memoryBytes: 8 }),
    /"bad".* 16 bytes in the file/,
  ),
  badKernel('an entry point outside the segments', elf({ entry: 0x1234 }), /"bad".* entry point 0x1234/),
  badKernel(
    'a decompression bomb that announces 1 MiB',
    bomb({ announcedBytes: MIB, initBytes: MIB }),
    /"bad".* holds more than the 1048576 bytes it announces/,
  ),
  badKernel(
    'a decompression bomb that announces 4 GiB',
    bomb({ announcedBytes: 0xffff_ffff, initBytes: 0xffff_ffff }),
    /"bad".* unpacks to 4294967295 bytes/,
  ),
  badKernel(
    'a payload of random bytes behind its magic',
    bytes(buildBzImage({ payload: Buffer.from('28b52ffd0123456789abcdef0123456789abcdef00100000', 'hex') })),
    /"bad".* cannot unpack the kernel \(zstd\)/,
  ),
];

export const INITRDS: readonly BadInput[] = [
  { what: 'a missing initrd', argv: ['-i', 'bad', 'kernel'], mistakes: [['--initrd', /"bad".* does not exist/]] },
  {
    what: 'an empty initrd',
    files: { bad: bytes('') },
    argv: ['-i', 'bad', 'kernel'],
    mistakes: [['--initrd', /"bad".* empty/]],
  },
  {
    what: 'a folder as the initrd',
    files: { bad: folder },
    argv: ['-i', 'bad', 'kernel'],
    mistakes: [['--initrd', /"bad".* directory, not a file/]],
  },
  {
    what: 'an initrd larger than RAM',
    files: { bad: zeros(64 * MIB) },
    argv: ['--mem=32', '--initrd=bad', 'kernel'],
    mistakes: [['--initrd', /64 MiB do not fit.* 32 MiB/]],
  },
  {
    what: 'initrds that are larger than RAM together',
    files: { bad: zeros(20 * MIB) },
    argv: ['--mem=32', '--initrd=bad', '--initrd=bad', 'kernel'],
    mistakes: [['--initrd', /40 MiB do not fit.* 32 MiB/]],
  },
  {
    what: 'an initrd that does not fit beside the kernel',
    files: { bad: zeros(31 * MIB) },
    argv: ['--mem=32', '--initrd=bad', 'kernel'],
    mistakes: [['--initrd', /"bad".* do not fit beside the kernel/]],
  },
];

const mem = (value: string, words: RegExp): BadInput => ({
  what: `--mem=${value}`,
  argv: [`--mem=${value}`, 'kernel'],
  mistakes: [['--mem', words]],
});

export const NUMBERS: readonly BadInput[] = [
  mem('31', /31 MiB: must be 32 to 3328/),
  mem('0', /0 MiB: must be 32 to 3328/),
  mem('3329', /3329 MiB: must be 32 to 3328/),
  // 2^32 + 256: as a 32-bit number it would be the default.
  mem('4294967552', /4294967552 MiB: must be 32 to 3328/),
  mem('99999999999999999999', /"99999999999999999999" is not a whole number/),
  mem('256M', /"256M" is not a whole number/),
  mem('-64', /"-64" is not a whole number/),
  mem('0x40', /"0x40" is not a whole number/),
  mem('64.5', /"64.5" is not a whole number/),
  mem('', /"" is not a whole number/),
  { what: '--mem without a value', argv: ['kernel', '--mem'], mistakes: [['--mem', /needs a value/]] },
  { what: '--cpus 17', argv: ['--cpus', '17', 'kernel'], mistakes: [['--cpus', /17 processors: must be 1 to 16/]] },
  {
    what: '--cpu-affinity 1023',
    argv: ['--cpu-affinity', '1023', 'kernel'],
    mistakes: [['--cpu-affinity', /may use none of the host's processors 1023/]],
  },
  {
    what: '--cpu-affinity 0,x',
    argv: ['--cpu-affinity', '0,x', 'kernel'],
    mistakes: [['--cpu-affinity', /must be processors and ranges of them/]],
  },
  { what: '--cpus 0', argv: ['--cpus', '0', 'kernel'], mistakes: [['--cpus', /0 processors/]] },
  { what: '--cpus two', argv: ['-c', 'two', 'kernel'], mistakes: [['--cpus', /"two" is not a whole number/]] },
];

const tooLong = 'x'.repeat(COMMAND_LINE_MAX_BYTES + 1);

export const OPTIONS: readonly BadInput[] = [
  {
    what: '--params that are too long',
    argv: ['-p', tooLong, 'kernel'],
    mistakes: [['--params', /2048 bytes.* 2047/]],
  },
  {
    what: "--params that are too long beside the machine's own",
    argv: ['-p', tooLong.slice(1), 'kernel'],
    mistakes: [['--params', /bytes; the kernel takes at most 2047/]],
  },
  {
    what: '--params with a line break',
    argv: ['-p', 'a\nb', 'kernel'],
    mistakes: [['--params', /U\+000A at position 1/]],
  },
  { what: 'an unknown option', argv: ['--frobnicate=3', 'kernel'], mistakes: [['--frobnicate', /unknown option/]] },
  { what: 'an unknown short option', argv: ['-z', 'kernel'], mistakes: [['-z', /unknown option/]] },
  {
    what: 'an option twice',
    argv: ['--mem=64', '-m65', 'kernel'],
    mistakes: [['--mem', /given twice, last with "65"/]],
  },
  { what: 'a flag twice', argv: ['--stats', '--stats', 'kernel'], mistakes: [['--stats', /given twice/]] },
  { what: 'a flag with a value', argv: ['--stats=no', 'kernel'], mistakes: [['--stats', /takes no value/]] },
  { what: 'two kernels', argv: ['kernel', 'other'], mistakes: [['KERNEL', /given twice, also as "other"/]] },
  {
    what: 'an unknown hypervisor',
    argv: ['--hypervisor=xen', 'kernel'],
    mistakes: [['--hypervisor', /"xen" is not one of/]],
  },
  {
    what: 'an unknown log level',
    argv: ['--log-level=loud', 'kernel'],
    mistakes: [['--log-level', /"loud" is not one of/]],
  },
];

const serial = (value: string, ...words: readonly RegExp[]): BadInput => ({
  what: `--serial=${value.length > 80 ? `${value.slice(0, 80)}…` : value}`,
  files: { file: bytes('x'), folder, deserted },
  argv: [`--serial=${value}`, 'kernel'],
  mistakes: words.map((pattern) => ['--serial', pattern]),
});

export const SERIAL_PORTS: readonly BadInput[] = [
  serial('', /"": is empty/),
  serial(',,', /",,": a key is missing/),
  serial('stdout,colour=red', /unknown key "colour"/),
  serial('type=stdout,type=sink', /type is given twice/),
  serial('num=2', /type=… is missing/),
  serial('type=printer', /type="printer": must be one of/),
  serial('sink,hardware=floppy', /hardware="floppy": must be one of/),
  serial('sink,num=5', /num="5": must be 1 to 4/),
  serial('sink,console=maybe', /console="maybe": must be true or false/),
  serial('type=file,path="unclosed', /a quote is not closed/),
  serial('sink,hardware=debugcon,stdin', /the debug console has no input/),
  serial('sink,path=file', /type=sink takes no path/),
  serial('type=file', /type=file needs a path/),
  serial('type=file,path=nowhere/log', /"nowhere\/log": there is no directory "nowhere"/),
  serial('type=file,path=folder', /"folder": is a directory, not a file/),
  serial('type=file,path=new/', /"new\/": is a directory name/),
  serial('type=file,path=file/log', /"file\/log": a part of the path is not a directory/),
  serial(`type=file,path=${'n'.repeat(300)}`, /the name is too long/),
  // A folder where nobody can create a file; only the attempt tells that to root.
  serial('type=file,path=/proc/log', /"\/proc\/log": (does not exist|permission denied)/),
  serial('type=unix-stream,path=nowhere', /"nowhere": does not exist/),
  serial('type=unix,path=file', /"file": is a file, not a socket/),
  serial('type=unix-stream,path=deserted', /"deserted": nobody listens/),
  serial(`type=unix,path=${'s'.repeat(200)}`, /200 bytes; a socket's path has at most 107/),
  {
    what: 'one port twice',
    argv: ['--serial=sink,num=2', '--serial=sink,num=2', 'kernel'],
    mistakes: [['--serial', /num=2 is given twice/]],
  },
  {
    what: 'two consoles that both read standard input',
    argv: ['--serial=sink,console,stdin', '--serial=sink,num=2,console,stdin', 'kernel'],
    mistakes: [
      ['--serial', /console=true is given to 2 ports/],
      ['--serial', /stdin=true is given to 2 ports/],
    ],
  },
];

export const SEVERAL: readonly BadInput[] = [
  {
    what: 'a mistake in every option at once',
    files: { empty: bytes(''), folder },
    argv: [
      '--frobnicate',
      '--cpus=20',
      '--mem=lots',
      '--initrd=missing',
      '--initrd=empty',
      `--params=${tooLong}`,
      '--serial=stdout,num=9',
      '--serial=type=file,path=folder',
      '--hypervisor=xen',
      '--log-level=loud',
      'folder',
      'other',
    ],
    mistakes: [
      ['--frobnicate', /unknown option/],
      ['KERNEL', /given twice, also as "other"/],
      ['--mem', /"lots" is not a whole number/],
      ['--serial', /num="9": must be 1 to 4/],
      ['--hypervisor', /"xen" is not one of/],
      ['--log-level', /"loud" is not one of/],
      ['--cpus', /20 processors/],
      ['--params', /2048 bytes/],
      ['--serial', /"folder": is a directory/],
      ['KERNEL', /"folder": is a directory/],
      ['--initrd', /"missing": does not exist/],
      ['--initrd', /"empty": is empty/],
    ],
  },
  {
    what: 'a good output file beside a kernel that is refused',
    files: { bad: bytes('text') },
    argv: ['--serial=type=file,path=new.log', 'bad'],
    mistakes: [['KERNEL', /"bad".* neither an ELF image nor a bzImage/]],
  },
];

/** Refused only to who has no power over permissions. */
export const WITHOUT_PERMISSION: readonly BadInput[] = [
  {
    what: 'a kernel, an initrd and an output without permission',
    files: { secret: unreadable, log: readOnly },
    argv: ['--initrd=secret', '--serial=type=file,path=log', 'secret'],
    mistakes: [
      ['--serial', /"log": permission denied/],
      ['KERNEL', /"secret": permission denied/],
      ['--initrd', /"secret": permission denied/],
    ],
  },
];

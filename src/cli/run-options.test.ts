import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseRunArguments } from './run-options.ts';

const lines = (...argv: string[]) =>
  parseRunArguments(argv).mistakes.map(({ option, message }) => `${option}: ${message}`);

describe('parseRunArguments', () => {
  test('a kernel alone gets the documented defaults', () => {
    assert.deepEqual(parseRunArguments(['vmlinuz']), {
      help: false,
      mistakes: [],
      config: {
        kernelPath: 'vmlinuz',
        initrdPaths: [],
        params: [],
        memoryMib: 256,
        cpus: 1,
        serial: [{ hardware: 'serial', num: 1, type: 'stdout', console: true, stdin: true }],
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
      },
    });
  });

  test('every option reaches the configuration', () => {
    const argv = ['-c1', '-m', '512', '-pquiet', '--params=a=b', '-i', 'x', '--initrd=y', '--serial', 'sink,num=1'];
    const { config, mistakes } = parseRunArguments([
      ...argv,
      '--hypervisor=software',
      '--log-level',
      'debug',
      '--stats',
      'k',
    ]);
    assert.deepEqual(mistakes, []);
    assert.deepEqual(config, {
      kernelPath: 'k',
      initrdPaths: ['x', 'y'],
      params: ['quiet', 'a=b'],
      memoryMib: 512,
      cpus: 1,
      serial: [{ hardware: 'serial', num: 1, type: 'sink', console: false, stdin: false }],
      hypervisor: 'software',
      disks: [],
      nets: [],
      inputs: [],
      pmems: [],
      sharedDirs: [],
      sandbox: true,
      seccompLogFailures: false,
      logLevel: 'debug',
      stats: true,
    });
  });

  test('a control socket is where --socket says', () => {
    assert.equal(parseRunArguments(['--socket=vm.sock', 'k']).config.socketPath, 'vm.sock');
    assert.deepEqual(lines('--socket', 'a', '--socket', 'b', 'k'), ['--socket: given twice, last with "b"']);
  });

  test('the order of all options of disks is that of their names in the guest', () => {
    const argv = ['--rwdisk=a', '-d', 'b', '--block=c,ro', '-re', '--rwdisk=f', '--block', 'g', 'k'];
    const { config, mistakes } = parseRunArguments(argv);
    const seen = config.disks.map(({ option, path, readOnly, root }) => [option, path, readOnly, root]);
    assert.deepEqual(seen, [
      ['--rwdisk', 'a', false, false],
      ['--disk', 'b', true, false],
      ['--block', 'c', true, false],
      ['--root', 'e', true, true],
      ['--rwdisk', 'f', false, false],
      ['--block', 'g', false, false],
    ]);
    assert.deepEqual(mistakes, []);
    assert.deepEqual(lines('--rwroot=a,ro', '--disk=', 'k'), [
      '--rwroot: "a,ro": unknown key "ro"; the keys are path, format, sparse, block_size',
      '--disk: "": is empty',
    ]);
  });

  test('--isolate names devices, in any order', () => {
    const { config, mistakes } = parseRunArguments(['--isolate=cmos,i8042', 'k']);
    assert.deepEqual([mistakes, config.isolated], [[], ['i8042', 'cmos']]);
  });

  for (const [text, message] of [
    ['', '"" is not one of i8042, cmos'],
    ['cmos,pit', '"pit" is not one of i8042, cmos'],
    ['cmos,cmos', 'cmos is named twice'],
  ] as const) {
    test(`--isolate=${text} is a mistake`, () => {
      assert.deepEqual(parseRunArguments([`--isolate=${text}`, 'k']).mistakes, [{ option: '--isolate', message }]);
    });
  }

  test('--input and the options of 2020 reach the configuration, in this order', () => {
    const { config, mistakes } = parseRunArguments(['--mouse=m', '--keyboard=k', '--input=trackpad[path=t]', 'kernel']);
    assert.deepEqual(mistakes, []);
    assert.deepEqual(
      config.inputs.map(({ kind, path }) => [kind, path]),
      [
        ['trackpad', 't'],
        ['keyboard', 'k'],
        ['mouse', 'm'],
      ],
    );
  });

  test('--vsock reaches the configuration', () => {
    const { config, mistakes } = parseRunArguments(['--vsock=cid=3,socket=s', 'k']);
    assert.deepEqual([config.vsock, mistakes], [{ cid: 3, socketPath: 's' }, []]);
  });

  test('the three options of persistent memory reach the configuration, --pmem first', () => {
    const argv = ['--rw-pmem-device=a,b', '--pmem-device', 'c', '--pmem=d,root', '--pmem=e,ro', 'k'];
    const { config, mistakes } = parseRunArguments(argv);
    const expected = [
      { path: 'd', readOnly: false, root: true },
      { path: 'e', readOnly: true, root: false },
      { path: 'c', readOnly: true, root: false },
      { path: 'a,b', readOnly: false, root: false },
    ];
    assert.deepEqual([config.pmems, mistakes], [expected, []]);
  });

  test('--shared-dir reaches the configuration', () => {
    const { config, mistakes } = parseRunArguments(['--shared-dir=a:b:ro', '--shared-dir', 'c:d', 'k']);
    assert.deepEqual([config.sharedDirs.map(({ path, tag }) => path + tag), mistakes], [['ab', 'cd'], []]);
  });

  const cases: readonly [string[], string][] = [
    [
      ['--input=keyboard', 'k'],
      '--input: "keyboard": must be KIND[path=PATH], KIND one of keyboard, mouse, single-touch, trackpad',
    ],
    [['--pmem=x,rw', 'k'], '--pmem: "x,rw": unknown key "rw"; the keys are path, ro, root'],
    [
      ['--shared-dir=a:b:type=p9', 'k'],
      '--shared-dir: "a:b:type=p9": type="p9": is not supported: type=fs, which is the default, is virtio-fs',
    ],
    [['--vsock=3', 'k'], '--vsock: "3": socket=… is missing'],
    [['--mem=256M', 'k'], '--mem: "256M" is not a whole number of MiB'],
    [['--mem=', 'k'], '--mem: "" is not a whole number of MiB'],
    [['--mem=-1', 'k'], '--mem: "-1" is not a whole number of MiB'],
    [['--mem=1e3', 'k'], '--mem: "1e3" is not a whole number of MiB'],
    [['--mem=99999999999', 'k'], '--mem: "99999999999" is not a whole number of MiB'],
    [['-c', 'two', 'k'], '--cpus: "two" is not a whole number'],
    [['--hypervisor=xen', 'k'], '--hypervisor: "xen" is not one of auto, kvm, software'],
    [['--log-level=loud', 'k'], '--log-level: "loud" is not one of off, error, warn, info, debug, trace'],
    [['k', 'l'], 'KERNEL: given twice, also as "l"'],
    [['--serial=type=file,num=9', 'k'], '--serial: "type=file,num=9": num="9": must be 1 to 4'],
  ];
  for (const [argv, line] of cases) {
    test(`${argv.join(' ')} is one mistake`, () => {
      assert.deepEqual(lines(...argv), [line]);
    });
  }

  test('mistakes of all options are reported together', () => {
    const found = lines('--mem=x', '--cpus=y', '--serial=z', '--nope', '--hypervisor=q');
    const options = found.map((line) => line.split(':')[0]);
    assert.deepEqual(options.toSorted(), ['--cpus', '--hypervisor', '--mem', '--nope', '--serial']);
  });
});

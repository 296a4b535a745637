import assert from 'node:assert/strict';
import { parseRunArguments, RUN_OPTIONS } from '#cli/run-options.ts';
import { type Config, configMistakes, type SerialConfig } from '#vmm/config.ts';
import type { DiskConfig } from '#vmm/disk-config.ts';
import type { SharedDirConfig } from '#vmm/fs-config.ts';
import type { HostFiles } from '#vmm/host-files.ts';
import type { InputConfig } from '#vmm/input-config.ts';
import type { NetConfig, NetSource } from '#vmm/net-config.ts';
import type { PmemConfig } from '#vmm/pmem-config.ts';
import type { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

const VALUES = [
  ...['1', '0', '64', '3328', '3329', '-1', '1e9', '99999999999', ''],
  ...['auto', 'kvm', 'software', 'debug', 'type=sink', 'stdout,num=2', 'type=file,path=x', 'type=stdout,stdin,num=3'],
  ...['stdout,hardware=virtio-console,num=16,name=a,console', 'sink,hardware=virtio-console', 'stdout,earlycon,num=4'],
  ...['disk,ro', 'path=disk,root,id=a b,lock=false', 'disk,block-size=4096,sparse=false', 'disk,format=qcow2'],
  ...['disk,num-queues=4', 'disk,sparse=false,block_size=4096', 'path="a,b",format=qcow2'],
  ...[
    'user',
    'user,hostfwd=udp:0.0.0.0:53-5353,hostfwd=80,host-loopback',
    'tap-name=tap0,mac=52:54:00:00:00:01',
    'tap-fd=9',
  ],
  ...['keyboard[path=k]', 'trackpad["a,]b",width=9,height=8]', 'mouse[path=m', 'single-touch[t]', 'p:10:20'],
  ...['nvdimm,ro', 'path="a,b",root'],
  ...[
    'dir:tag',
    '/:t:ro:cache=never:timeout=0',
    'a:b:writeback=true:type=fs',
    'dir:t:uidmap=0 9 2:gidmap=0 1 1,5 6 7',
    'a::type=p9',
  ],
  ...['cid=3,socket=s', '4,socket="a,b"', 'vm.sock', '/tmp'],
  ...['1234', '65536', 'unix:gdb', 'unix:', 'unix:unix:x'],
  ...['0,2-3', '0=0:1=1-2', '0=0:0=1', '2=1', 'i8042', 'cmos,i8042', 'serial,'],
  ...['quiet', 'a=b c', 'a\nb', '\x1b[31m', '\x9b', '\0', 'x'.repeat(2100), '-', '--', '-c', '--mem', '__proto__'],
];

function argument(random: Random): string {
  const spec = random.pick(RUN_OPTIONS);
  const value = random.pick(VALUES);
  const short = spec.short ?? random.pick(['z', 'é', '-']);
  return random.pick([
    `--${spec.name}=${value}`,
    `--${spec.name}`,
    `-${short}${value}`,
    `-${short}`,
    value,
    `--${value}`,
  ]);
}

/** Every path is a file of a few bytes, or a directory if it begins so, so that only the text decides. */
const files: HostFiles = {
  stat: (path) => ({ kind: path.startsWith('dir') ? 'directory' : 'file', sizeBytes: 5 }),
  assertReadable: () => {},
  assertWritable: () => {},
};

function writtenDisk({ option, path, format, sparse, blockSizeBytes, ...plain }: DiskConfig): string {
  const { readOnly: ro, queueCount, ...block } = plain;
  const own =
    option === '--block'
      ? { ...block, ro, 'block-size': blockSizeBytes, 'num-queues': queueCount }
      : { block_size: blockSizeBytes };
  const pairs = Object.entries({ ...own, sparse, path: `"${path}"` });
  const all = format === undefined ? pairs : [...pairs, ['format', format]];
  return `${option}=${all.map(([key, value]) => `${key}=${value}`).join(',')}`;
}

function writtenNet({ source, mac, pairs }: NetConfig): string {
  const others = [`vq-pairs=${pairs}`, ...(mac === undefined ? [] : [`mac=${mac}`])];
  return `--net=${[...writtenSource(source), ...others].join(',')}`;
}

function writtenInput({ kind, path, size }: InputConfig): string {
  const keys = size === undefined ? [] : [`width=${size.width}`, `height=${size.height}`];
  return `--input=${kind}[${[`path="${path}"`, ...keys].join(',')}]`;
}

function writtenSource(source: NetSource): string[] {
  if (source.kind === 'tap') return [`tap-name=${source.name}`];
  if (source.kind === 'tap-fd') return [`tap-fd=${source.fd}`];
  if (source.kind === 'host') return [`host-ip=${source.address}`, `netmask=${source.netmask}`];
  const forwards = source.hostForwards.map(
    ({ protocol, hostAddress, hostPort, guestPort }) => `hostfwd=${protocol}:${hostAddress}:${hostPort}-${guestPort}`,
  );
  return ['user', `host-loopback=${source.hostLoopback}`, ...forwards];
}

/** The older options come after the others, but take any path. */
function writtenPmem({ path, readOnly, root }: PmemConfig): string {
  if (!path.includes('"')) return `--pmem=path="${path}",ro=${readOnly},root=${root}`;
  return `--${readOnly ? 'pmem-device' : 'rw-pmem-device'}=${path}`;
}

const inOrder = (config: Config): Config => ({
  ...config,
  pmems: config.pmems.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b))),
});

function writtenSharedDir({ path, tag, uidMap, gidMap, ...plain }: SharedDirConfig): string {
  const written = (key: string, map: SharedDirConfig['uidMap']): string =>
    map === undefined
      ? ''
      : `:${key}=${map.map((range) => `${range.inside} ${range.outside} ${range.count}`).join(',')}`;
  const { readOnly, cache, timeoutSeconds, writeback } = plain;
  const rest = `:ro=${readOnly}:cache=${cache}:timeout=${timeoutSeconds}:writeback=${writeback}`;
  return `--shared-dir=${path}:${tag}${written('uidmap', uidMap)}${written('gidmap', gidMap)}${rest}`;
}

/** The arguments that mean this configuration and nothing else. */
function written(config: Config): string[] {
  const { kernelPath, initrdPaths, params, memoryMib, cpus, hypervisor, logLevel, ...others } = config;
  const { serial, disks, nets, inputs, pmems, sharedDirs, vsock, ...plain } = others;
  return [
    `--mem=${memoryMib}`,
    `--cpus=${cpus}`,
    `--hypervisor=${hypervisor}`,
    `--log-level=${logLevel}`,
    ...params.map((text) => `--params=${text}`),
    ...initrdPaths.map((path) => `--initrd=${path}`),
    ...serial.map(writtenSerial),
    ...disks.map(writtenDisk),
    ...nets.map(writtenNet),
    ...inputs.map(writtenInput),
    ...pmems.map(writtenPmem),
    ...sharedDirs.map(writtenSharedDir),
    ...(vsock === undefined ? [] : [`--vsock=cid=${vsock.cid},socket="${vsock.socketPath}"`]),
    ...writtenPlain(plain),
    '--',
    kernelPath,
  ];
}

/** What is one value or flag. */
type Plain = Omit<
  Config,
  | 'kernelPath'
  | 'initrdPaths'
  | 'params'
  | 'memoryMib'
  | 'cpus'
  | 'hypervisor'
  | 'logLevel'
  | 'serial'
  | 'disks'
  | 'nets'
  | 'inputs'
  | 'pmems'
  | 'sharedDirs'
  | 'vsock'
>;

function writtenPlain({ cpuAffinity, isolated, socketPath, gdb, seccompPolicyDir, ...flags }: Plain): string[] {
  const { sandbox, seccompLogFailures, jit, debugExit, stats, traceStart, ...forgotten } = flags;
  // An option that is not written above does not compile.
  forgotten satisfies Record<string, never>;
  const affinities = cpuAffinity?.map(({ vcpu, hostCpus }) => `${vcpu === undefined ? '' : `${vcpu}=`}${hostCpus}`);
  return [
    ...(affinities === undefined ? [] : [`--cpu-affinity=${affinities.join(':')}`]),
    ...(isolated === undefined ? [] : [`--isolate=${isolated.join(',')}`]),
    ...(socketPath === undefined ? [] : [`--socket=${socketPath}`]),
    ...(gdb === undefined ? [] : [`--gdb=${gdb.kind === 'tcp' ? gdb.port : `unix:${gdb.path}`}`]),
    ...(seccompPolicyDir === undefined ? [] : [`--seccomp-policy-dir=${seccompPolicyDir}`]),
    ...(sandbox ? [] : ['--disable-sandbox']),
    ...(seccompLogFailures ? ['--seccomp-log-failures'] : []),
    ...(jit === false ? ['--no-jit'] : []),
    ...(debugExit === true ? ['--debug-exit'] : []),
    ...(stats ? ['--stats'] : []),
    ...(traceStart === true ? ['--trace-start'] : []),
  ];
}

function writtenSerial({ path, name, ...plain }: SerialConfig): string {
  const pairs = Object.entries(plain).map(([key, value]) => `${key}=${value}`);
  const texts = Object.entries({ path, name }).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}="${value}"`],
  );
  return `--serial=${[...pairs, ...texts].join(',')}`;
}

function check(argv: readonly string[]): void {
  const { config, mistakes } = parseRunArguments(argv);
  const all = [...mistakes, ...configMistakes(config, files)];
  for (const { option, message } of all) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that there are none is what is checked
    assert.doesNotMatch(`${option}: ${message}`, /[\x00-\x1f\x7f-\x9f\u2028-\u202e]/);
  }
  if (all.length > 0) return;
  const again = parseRunArguments(written(config));
  assert.deepEqual([again.help, again.mistakes], [false, []]);
  assert.deepEqual(inOrder(again.config), inOrder(config));
}

export const target = inputTarget<readonly string[]>({
  name: 'arguments',
  generate: (random) => {
    const argv = Array.from({ length: random.below(8) }, () => argument(random));
    return random.oneIn(2) ? [...argv, 'vmlinuz'] : argv;
  },
  check,
  show: JSON.stringify,
  *shrink(argv) {
    for (let at = 0; at < argv.length; at++) yield argv.toSpliced(at, 1);
  },
});

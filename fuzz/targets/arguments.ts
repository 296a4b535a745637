import assert from 'node:assert/strict';
import { parseRunArguments, RUN_OPTIONS } from '#cli/run-options.ts';
import { type Config, configMistakes, type DiskConfig } from '#vmm/config.ts';
import type { HostFiles } from '#vmm/host-files.ts';
import type { NetConfig, NetSource } from '#vmm/net-config.ts';
import type { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

const VALUES = [
  ...['1', '0', '64', '3328', '3329', '-1', '1e9', '99999999999', ''],
  ...['auto', 'kvm', 'software', 'debug', 'type=sink', 'stdout,num=2', 'type=file,path=x', 'type=stdout,stdin,num=3'],
  ...['stdout,hardware=virtio-console,num=16,name=a,console', 'sink,hardware=virtio-console', 'stdout,earlycon,num=4'],
  ...['disk,ro', 'path=disk,root,id=a b,lock=false', 'disk,block-size=4096,sparse=false', 'disk,format=qcow2'],
  ...[
    'user',
    'user,hostfwd=udp:0.0.0.0:53-5353,hostfwd=80,host-loopback',
    'tap-name=tap0,mac=52:54:00:00:00:01',
    'tap-fd=9',
  ],
  ...['cid=3,socket=s', '4,socket="a,b"', 'vm.sock', '/tmp'],
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

/** Every path is a file of a few bytes, so that only the text decides. */
const files: HostFiles = {
  stat: () => ({ kind: 'file', sizeBytes: 5 }),
  assertReadable: () => {},
  assertWritable: () => {},
};

function writtenDisk({ path, format, readOnly, blockSizeBytes, ...plain }: DiskConfig): string {
  const pairs = Object.entries({ ...plain, ro: readOnly, 'block-size': blockSizeBytes, path: `"${path}"` });
  const all = format === undefined ? pairs : [...pairs, ['format', format]];
  return `--block=${all.map(([key, value]) => `${key}=${value}`).join(',')}`;
}

function writtenNet({ source, mac, pairs }: NetConfig): string {
  const others = [`vq-pairs=${pairs}`, ...(mac === undefined ? [] : [`mac=${mac}`])];
  return `--net=${[...writtenSource(source), ...others].join(',')}`;
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

/** The arguments that mean this configuration and nothing else. */
function written(config: Config): string[] {
  return [
    `--mem=${config.memoryMib}`,
    `--cpus=${config.cpus}`,
    `--hypervisor=${config.hypervisor}`,
    `--log-level=${config.logLevel}`,
    ...(config.stats ? ['--stats'] : []),
    ...config.params.map((text) => `--params=${text}`),
    ...config.initrdPaths.map((path) => `--initrd=${path}`),
    ...config.serial.map(({ path, name, ...plain }) => {
      const pairs = Object.entries(plain).map(([key, value]) => `${key}=${value}`);
      const texts = Object.entries({ path, name }).flatMap(([key, value]) =>
        value === undefined ? [] : [`${key}="${value}"`],
      );
      return `--serial=${[...pairs, ...texts].join(',')}`;
    }),
    ...config.disks.map(writtenDisk),
    ...config.nets.map(writtenNet),
    ...(config.vsock === undefined ? [] : [`--vsock=cid=${config.vsock.cid},socket="${config.vsock.socketPath}"`]),
    ...(config.socketPath === undefined ? [] : [`--socket=${config.socketPath}`]),
    ...(config.sandbox ? [] : ['--disable-sandbox']),
    ...(config.seccompPolicyDir === undefined ? [] : [`--seccomp-policy-dir=${config.seccompPolicyDir}`]),
    ...(config.seccompLogFailures ? ['--seccomp-log-failures'] : []),
    '--',
    config.kernelPath,
  ];
}

function check(argv: readonly string[]): void {
  const { config, mistakes } = parseRunArguments(argv);
  const all = [...mistakes, ...configMistakes(config, files)];
  for (const { option, message } of all) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that there are none is what is checked
    assert.doesNotMatch(`${option}: ${message}`, /[\x00-\x1f\x7f-\x9f\u2028-\u202e]/);
  }
  if (all.length > 0) return;
  assert.deepEqual(parseRunArguments(written(config)), { help: false, config, mistakes: [] });
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

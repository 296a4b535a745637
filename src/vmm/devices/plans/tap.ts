/** Taps for network devices: one that is there by its name, one that was handed in, or one that is made for the machine. */
import { HEADER_BYTES } from '#devices/virtio/net/constants.ts';
import { Fd } from '#sys/fd.ts';
import { dup, setNonBlocking } from '#sys/file.ts';
import { configureInterface } from '#sys/interface.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { DETACHED_ERRNO, interfaceExists, openTap, setTapHeaderSize, TapFlag, tapFlags } from '#sys/tap.ts';
import { quoted } from '#util/quoted.ts';
import { ConfigError } from '../../config.ts';
import { ipv4Bytes, type NetSource } from '../../net-config.ts';

export type TapSource = Exclude<NetSource, { kind: 'user' }>;

const TAP_FLAGS = TapFlag.TAP | TapFlag.NO_PI | TapFlag.VNET_HDR;
/** crosvm's; the kernel puts the first free number. */
const NAME_PATTERN = 'vmtap%d';

/** The queues of a tap, one for each pair, ready for the device. Throws ConfigError for one that cannot be used. */
export function openTapQueues(source: TapSource, pairs: number): Fd[] {
  try {
    using opened = new DisposableStack();
    const flags = pairs === 1 ? TAP_FLAGS : TAP_FLAGS | TapFlag.MULTI_QUEUE;
    const fds = queuesOf(source, pairs, (name) => {
      const tap = openTap(name, flags);
      return { name: tap.name, fd: opened.use(new Fd(tap.fd)) };
    });
    for (const { fd } of fds) setTapHeaderSize(fd, HEADER_BYTES);
    opened.move();
    return fds;
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw mistake(source, problemOf(source, pairs, error));
  }
}

function queuesOf(source: TapSource, pairs: number, open: (name: string) => { name: string; fd: Fd }): Fd[] {
  if (source.kind === 'tap-fd') return [givenTap(source)];
  // The kernel would make one, for root: a name that is misspelt would be a network with nobody in it.
  if (source.kind === 'tap' && !interfaceExists(source.name)) throw mistake(source, PROBLEMS['ENODEV'] as string);
  const { name, fd } = open(source.kind === 'tap' ? source.name : NAME_PATTERN);
  if (source.kind === 'host') {
    configureInterface(name, { address: ipv4Bytes(source.address), netmask: ipv4Bytes(source.netmask) });
  }
  return [fd, ...Array.from({ length: pairs - 1 }, () => open(name).fd)];
}

function givenTap(source: TapSource & { kind: 'tap-fd' }): Fd {
  // Closed on exec, other than the one that was inherited.
  const fd = new Fd(dup(source.fd));
  try {
    if ((tapFlags(fd.fd) & TAP_FLAGS) !== TAP_FLAGS) {
      throw mistake(source, 'it has to be opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR');
    }
    setNonBlocking(fd.fd, true);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

function mistake(source: TapSource, message: string): ConfigError {
  return new ConfigError([{ option: '--net', message: `${placeOf(source)}: ${message}` }]);
}

function placeOf(source: TapSource): string {
  if (source.kind === 'tap') return `tap-name=${quoted(source.name)}`;
  return source.kind === 'tap-fd' ? `tap-fd=${source.fd}` : `host-ip=${source.address}`;
}

function problemOf({ kind }: TapSource, pairs: number, error: SyscallError): string {
  const special = kind === 'host' ? MAKING_PROBLEMS : pairs > 1 ? QUEUES_PROBLEMS : {};
  return special[error.code] ?? PROBLEMS[error.code] ?? error.message;
}

type Problems = Readonly<Record<string, string>>;

const PROBLEMS: Problems = {
  ENODEV: 'there is no such interface; ip tuntap add makes one',
  EBUSY: 'another process uses it',
  EPERM: 'it belongs to another user',
  EACCES: 'it belongs to another user',
  EINVAL: 'it is no tap of one queue; vq-pairs=… uses one of several',
  EBADF: 'is not open',
  ENOTTY: 'is no tap',
  [`E${DETACHED_ERRNO}`]: 'is attached to no interface',
};

const QUEUES_PROBLEMS: Problems = {
  EINVAL: 'it is no tap of several queues; ip tuntap add … multi_queue makes one',
};

const NO_PRIVILEGE =
  'making a tap needs CAP_NET_ADMIN; user needs no privilege, and tap-name=… takes one that is there';
const MAKING_PROBLEMS: Problems = { EPERM: NO_PRIVILEGE, EACCES: NO_PRIVILEGE };

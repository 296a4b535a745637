import { randomBytes } from 'node:crypto';
import { HEADER_BYTES, MAC_BYTES } from '#devices/virtio/net/constants.ts';
import { net } from '#devices/virtio/net/net.ts';
import { Fd } from '#sys/fd.ts';
import { dup, setNonBlocking } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { DETACHED_ERRNO, interfaceExists, openTap, setTapHeaderSize, TapFlag, tapFlags } from '#sys/tap.ts';
import { ConfigError, quoted } from '../../config.ts';
import { macBytes, type NetConfig, type NetSource } from '../../net-config.ts';
import { Passt } from '../passt.ts';
import type { NetParameters } from '../registry.ts';
import type { DeviceHelper, DevicePlan } from './plan.ts';

/** QEMU's range of addresses that are nobody's hardware. */
const MAC_PREFIX = [0x52, 0x54, 0x00] as const;
const TAP_FLAGS = TapFlag.TAP | TapFlag.NO_PI | TapFlag.VNET_HDR;

interface Opened {
  readonly fd: Fd;
  readonly helper?: DeviceHelper;
}

/**
 * Opens the tap or starts passt. `opened` gets what the device's process has copies of, `owned` what has to live as long as the
 * machine. Throws ConfigError for a network that cannot be used.
 */
export function netPlan(
  { source, mac }: NetConfig,
  index: number,
  { opened, owned }: { readonly opened: DisposableStack; readonly owned: DisposableStack },
): DevicePlan {
  const { fd, helper } = source.kind === 'user' ? startPasst(source, owned) : { fd: openTapSource(source) };
  opened.use(fd);
  const parameters: NetParameters = {
    backend: source.kind === 'user' ? 'stream' : 'tap',
    mac: [...(mac === undefined ? randomMac() : macBytes(mac))],
  };
  const { policy, queueSizes } = net;
  const plan = { device: 'net', name: `net${index}`, policy, queueCount: queueSizes.length, parameters } as const;
  return { ...plan, fds: [fd], ...(helper && { helper }) };
}

function randomMac(): Uint8Array {
  return Uint8Array.from([...MAC_PREFIX, ...randomBytes(MAC_BYTES - MAC_PREFIX.length)]);
}

function startPasst(source: NetSource & { kind: 'user' }, owned: DisposableStack): Opened {
  const { passt, socket } = Passt.start(source);
  return { fd: socket, helper: owned.use(passt) };
}

function openTapSource(source: NetSource & { kind: 'tap' | 'tap-fd' }): Fd {
  const place = source.kind === 'tap' ? `tap-name=${quoted(source.name)}` : `tap-fd=${source.fd}`;
  try {
    const fd = source.kind === 'tap' ? namedTap(source.name) : givenTap(source.fd);
    try {
      setTapHeaderSize(fd.fd, HEADER_BYTES);
      return fd;
    } catch (error) {
      fd.close();
      throw error;
    }
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new ConfigError([{ option: '--net', message: `${place}: ${TAP_ERRORS[error.code] ?? error.message}` }]);
  }
}

const TAP_ERRORS: Readonly<Record<string, string>> = {
  ENODEV: 'there is no such interface; ip tuntap add makes one',
  EBUSY: 'another process uses it',
  EPERM: 'it belongs to another user',
  EACCES: 'it belongs to another user',
  EINVAL: 'it is no tap of one queue',
  EBADF: 'is not open',
  ENOTTY: 'is no tap',
  [`E${DETACHED_ERRNO}`]: 'is attached to no interface',
};

function namedTap(name: string): Fd {
  // The kernel would make one, for root: a name that is misspelt would be a network with nobody in it.
  if (!interfaceExists(name)) throw new ConfigError([missing(name)]);
  return new Fd(openTap(name, TAP_FLAGS));
}

const missing = (name: string) => ({ option: '--net', message: `tap-name=${quoted(name)}: ${TAP_ERRORS['ENODEV']}` });

function givenTap(number: number): Fd {
  // Closed on exec, other than the one that was inherited.
  const fd = new Fd(dup(number));
  try {
    const flags = tapFlags(fd.fd);
    if ((flags & TAP_FLAGS) !== TAP_FLAGS) {
      const message = `tap-fd=${number}: it has to be opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR`;
      throw new ConfigError([{ option: '--net', message }]);
    }
    setNonBlocking(fd.fd, true);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

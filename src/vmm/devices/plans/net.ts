import { randomBytes } from 'node:crypto';
import { MAC_BYTES, queueSizesOf } from '#devices/virtio/net/constants.ts';
import { net } from '#devices/virtio/net/net.ts';
import { NetParameters } from '#devices/virtio/net/parameters.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import type { Fd } from '#sys/fd.ts';
import { macBytes, type NetConfig, type NetSource } from '../../net-config.ts';
import { Passt } from '../passt.ts';
import type { DeviceHelper, DevicePlan } from './plan.ts';
import { openTapQueues } from './tap.ts';

/** QEMU's range of addresses that are nobody's hardware. */
const MAC_PREFIX = [0x52, 0x54, 0x00] as const;

interface Opened {
  /** One for each pair of queues. */
  readonly fds: readonly Fd[];
  readonly helper?: DeviceHelper;
}

/**
 * Opens the tap or starts passt. `opened` gets what the device's process has copies of, `owned` what has to live as long as the
 * machine. Throws ConfigError for a network that cannot be used.
 */
export function netPlan(
  { source, mac, pairs }: NetConfig,
  index: number,
  { opened, owned }: { readonly opened: DisposableStack; readonly owned: DisposableStack },
): DevicePlan {
  const { fds, helper } = source.kind === 'user' ? startPasst(source, owned) : { fds: openTapQueues(source, pairs) };
  for (const fd of fds) opened.use(fd);
  const parameters = encodeBytes(NetParameters, {
    backend: source.kind === 'user' ? 'stream' : 'tap',
    mac: mac === undefined ? randomMac() : Uint8Array.from(macBytes(mac)),
  });
  const queueCount = queueSizesOf(fds.length).length;
  const plan = { device: 'net', name: `net${index}`, policy: net.policy, queueCount, parameters } as const;
  return { ...plan, fds, ...(helper && { helper }) };
}

function randomMac(): Uint8Array {
  return Uint8Array.from([...MAC_PREFIX, ...randomBytes(MAC_BYTES - MAC_PREFIX.length)]);
}

function startPasst(source: NetSource & { kind: 'user' }, owned: DisposableStack): Opened {
  const { passt, socket } = Passt.start(source);
  return { fds: [socket], helper: owned.use(passt) };
}

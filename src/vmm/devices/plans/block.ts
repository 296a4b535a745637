import { block } from '#devices/virtio/block/block.ts';
import { BlockParameters } from '#devices/virtio/block/parameters.ts';
import { DiskError } from '#disk/disk-file.ts';
import { type ChainImage, openChain } from '#disk/image-chain.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import type { Client } from '#msg-socket/protocol.ts';
import { CodedError } from '#util/errors.ts';
import { quoted } from '#util/quoted.ts';
import { DiskControl } from '#vm-control/disk-control.ts';
import { ConfigError, pathMistake } from '../../config.ts';
import type { DiskConfig } from '../../disk-config.ts';
import type { DevicePlan } from './plan.ts';

/** Tables that a longer disk needs are brought to the medium meanwhile. Main's loop waits, and other work of the machine with it. */
const TIMEOUT_MS = 2000;

export type DiskClient = Client<typeof DiskControl>;

/** `owned` gets main's end of the control socket, which lives as long as the machine. Throws ConfigError for an image that cannot be used. */
export function blockPlan(
  disk: DiskConfig,
  index: number,
  { opened, owned }: { readonly opened: DisposableStack; readonly owned: DisposableStack },
): { readonly plan: DevicePlan; readonly client: DiskClient } {
  const { readOnly, sparse, blockSizeBytes, id, queueCount } = disk;
  const chain = openDisk(disk);
  const fds = chain.map(({ fd }) => opened.use(fd));
  const formats = chain.map(({ format }) => format);
  const parameters = encodeBytes(BlockParameters, { formats, readOnly, sparse, blockSizeBytes, id, queueCount });
  const pair = DiskControl.pair();
  const timeouts = { sendMs: TIMEOUT_MS, receiveMs: TIMEOUT_MS };
  const client = owned.adopt(DiskControl.client(pair.client, timeouts), (each) => each.close());
  const name = `block${index}`;
  const all = [...fds, opened.use(pair.server)];
  return { plan: { device: 'block', name, policy: block.policy, queueCount, parameters, fds: all }, client };
}

/** Opens and locks an image and all below it, so that what is wrong with them is said before anything runs. */
function openDisk(disk: DiskConfig): ChainImage[] {
  const { option, path } = disk;
  try {
    return openChain(path, disk);
  } catch (error) {
    if (error instanceof DiskError) throw new ConfigError([{ option, message: `${quoted(path)}: ${error.message}` }]);
    if (error instanceof CodedError) throw new ConfigError([pathMistake(option, path, error)]);
    throw error;
  }
}

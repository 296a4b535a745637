import { block } from '#devices/virtio/block/block.ts';
import { DiskError } from '#disk/disk-file.ts';
import { type ChainImage, openChain } from '#disk/image-chain.ts';
import { CodedError } from '#util/errors.ts';
import { ConfigError, pathMistake, quoted } from '../../config.ts';
import type { DiskConfig } from '../../disk-config.ts';
import type { BlockParameters } from '../registry.ts';
import type { DevicePlan } from './plan.ts';

/** Throws ConfigError for an image that cannot be used. */
export function blockPlan(disk: DiskConfig, index: number, opened: DisposableStack): DevicePlan {
  const { readOnly, sparse, blockSizeBytes, id, queueCount } = disk;
  const chain = openDisk(disk);
  const fds = chain.map(({ fd }) => opened.use(fd));
  const formats = chain.map(({ format }) => format);
  const parameters: BlockParameters = { formats, readOnly, sparse, blockSizeBytes, id, queueCount };
  return { device: 'block', name: `block${index}`, policy: block.policy, queueCount, parameters, fds };
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

import { block } from '#devices/virtio/block/block.ts';
import { RawDisk } from '#disk/raw.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { CodedError } from '#util/errors.ts';
import { ConfigError, type DiskConfig, pathMistake } from '../../config.ts';
import type { BlockParameters } from '../registry.ts';
import type { DevicePlan } from './plan.ts';

/** Throws ConfigError for an image that cannot be used. */
export function blockPlan(disk: DiskConfig, index: number, opened: DisposableStack): DevicePlan {
  const { path, readOnly, sparse, blockSizeBytes, id, lock } = disk;
  const parameters: BlockParameters = { readOnly, sparse, blockSizeBytes, id };
  const fd = opened.use(openDisk(path, readOnly, lock));
  const { policy, queueSizes } = block;
  return { device: 'block', name: `block${index}`, policy, queueCount: queueSizes.length, parameters, fds: [fd] };
}

/** Opens and locks an image, so that what is wrong with it is said before anything runs. */
function openDisk(path: string, readOnly: boolean, lock: boolean): Fd {
  try {
    const fd = Fd.open(path, (readOnly ? OpenFlag.RDONLY : OpenFlag.RDWR) | OpenFlag.NONBLOCK);
    try {
      // It only looks: the duplicate shares the lock, which is the open file's.
      using _ = new RawDisk(fd.duplicate(), { readOnly, lock });
      return fd;
    } catch (error) {
      fd.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof CodedError) throw new ConfigError([pathMistake('--block', path, error)]);
    throw error;
  }
}

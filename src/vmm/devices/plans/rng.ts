import { RngParameters } from '#devices/virtio/rng/parameters.ts';
import { rng } from '#devices/virtio/rng/rng.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import type { DevicePlan } from './plan.ts';

export function rngPlan(opened: DisposableStack): DevicePlan {
  const fds = [opened.use(Fd.open('/dev/urandom', OpenFlag.RDONLY))];
  const { name, policy, queueSizes } = rng;
  return {
    device: 'rng',
    name,
    policy,
    queueCount: queueSizes.length,
    parameters: encodeBytes(RngParameters, undefined),
    fds,
  };
}

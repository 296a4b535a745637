import { balloon } from '#devices/virtio/balloon/balloon.ts';
import { BalloonParameters } from '#devices/virtio/balloon/parameters.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import type { Client } from '#msg-socket/protocol.ts';
import { BalloonControl } from '#vm-control/balloon-control.ts';
import type { DevicePlan } from './plan.ts';

/** Main's loop waits this long for the balloon: other work of the machine waits with it. */
const TIMEOUT_MS = 500;

export type BalloonClient = Client<typeof BalloonControl>;

/** `owned` gets main's end of the control socket, which lives as long as the machine. */
export function balloonPlan(
  ramSizeBytes: number,
  opened: DisposableStack,
  owned: DisposableStack,
): { readonly plan: DevicePlan; readonly client: BalloonClient } {
  const pair = BalloonControl.pair();
  const client = owned.adopt(
    BalloonControl.client(pair.client, { sendMs: TIMEOUT_MS, receiveMs: TIMEOUT_MS }),
    (each) => each.close(),
  );
  const parameters = encodeBytes(BalloonParameters, { ramSizeBytes });
  const { name, policy, queueSizes } = balloon;
  const fds = [opened.use(pair.server)];
  return { plan: { device: 'balloon', name, policy, queueCount: queueSizes.length, parameters, fds }, client };
}

import { VsockParameters } from '#devices/virtio/vsock/parameters.ts';
import { vsock } from '#devices/virtio/vsock/vsock.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import type { Fd } from '#sys/fd.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { CodedError } from '#util/errors.ts';
import { quoted } from '#util/quoted.ts';
import { VsockConnect, VsockConnectError, vsockConnectHandlers } from '#vm-control/vsock-connect.ts';
import { ConfigError, pathMistake, type VsockConfig } from '../../config.ts';
import { connectStream, UnixListener, UnixListenerError } from '../../unix-listener.ts';
import type { DevicePlan } from './plan.ts';

/** `owned` gets what lives as long as the machine: the socket's file, and main's answers. Throws ConfigError. */
export function vsockPlan(config: VsockConfig, opened: DisposableStack, owned: DisposableStack): DevicePlan {
  const { cid, socketPath } = config;
  const parameters = encodeBytes(VsockParameters, { cid });
  const listener = opened.use(owned.use(listenAt(socketPath)).duplicate());
  const ends = VsockConnect.pair();
  const client = opened.use(ends.client);
  const handlers = vsockConnectHandlers((port) => connectTo(`${socketPath}_${port}`));
  const server = owned.use(VsockConnect.server(ends.server, handlers));
  const { name, policy, queueSizes } = vsock;
  const fds = [listener, client];
  return { device: 'vsock', name, policy, queueCount: queueSizes.length, parameters, fds, server };
}

function listenAt(path: string): UnixListener {
  try {
    return new UnixListener(path);
  } catch (error) {
    if (error instanceof UnixListenerError) {
      throw new ConfigError([{ option: '--vsock', message: `${quoted(path)}: ${error.message}` }]);
    }
    if (error instanceof CodedError) throw new ConfigError([pathMistake('--vsock', path, error)]);
    throw error;
  }
}

/** The guest's wish, which names no path but this one. It never waits, for this is main's loop. */
function connectTo(path: string): Fd {
  try {
    return connectStream(path);
  } catch (error) {
    // Why is the host's affair, not the guest's.
    if (error instanceof SyscallError) throw new VsockConnectError('REFUSED', 'nobody takes the connection');
    throw error;
  }
}

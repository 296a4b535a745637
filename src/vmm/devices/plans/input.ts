import { input } from '#devices/virtio/input/input.ts';
import { InputParameters } from '#devices/virtio/input/parameters.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import type { Fd } from '#sys/fd.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { CodedError } from '#util/errors.ts';
import { quoted } from '#util/quoted.ts';
import { ConfigError, pathMistake } from '../../config.ts';
import type { InputConfig } from '../../input-config.ts';
import { connectStream } from '../../unix-listener.ts';
import type { DevicePlan } from './plan.ts';

/** Connects to the socket of the device's events. `opened` gets the connection. Throws ConfigError. */
export function inputPlan({ kind, path, size }: InputConfig, index: number, opened: DisposableStack): DevicePlan {
  const fds = [opened.use(connectTo(path))];
  const parameters = encodeBytes(InputParameters, { kind, index, ...(size && { size }) });
  const { policy, queueSizes } = input;
  return { device: 'input', name: `input${index}`, policy, queueCount: queueSizes.length, parameters, fds };
}

function connectTo(path: string): Fd {
  try {
    return connectStream(path);
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'EPROTOTYPE') {
      throw new ConfigError([{ option: '--input', message: `${quoted(path)}: is no stream socket` }]);
    }
    if (error instanceof CodedError) throw new ConfigError([pathMistake('--input', path, error)]);
    throw error;
  }
}

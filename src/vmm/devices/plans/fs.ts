import { fs } from '#devices/virtio/fs/fs.ts';
import type { JailConfig } from '#jail/jail-config.ts';
import { currentIds } from '#sys/credentials.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { ConfigError, pathMistake } from '../../config.ts';
import { resolvedFolder, type SharedDirConfig } from '../../fs-config.ts';
import { FS_NOFILE, type FsParameters } from '../shared-dir.ts';
import type { DevicePlan } from './plan.ts';

/** Throws ConfigError for a directory that cannot be used. */
export function fsPlan(
  config: SharedDirConfig,
  index: number,
  { opened, sandbox }: { readonly opened: DisposableStack; readonly sandbox: boolean },
): DevicePlan {
  const { path, tag, readOnly, cache, timeoutSeconds, writeback } = config;
  const folder = openFolder(path);
  const parameters: FsParameters = { tag, readOnly, cache, timeoutSeconds, writeback, givesAway: false };
  const { policy, queueSizes } = fs;
  const plan = { device: 'fs', name: `fs${index}`, policy, queueCount: queueSizes.length, parameters } as const;
  if (!sandbox) return { ...plan, fds: [opened.use(folder)] };
  // A descriptor of the directory outside of the jail would lead out of it.
  folder.close();
  return { ...plan, fds: [], jail: jailOf(resolvedFolder(path), config) };
}

/** The directory is the root, and the guest's root is the user that runs crosvm; nobody else has a number there. */
function jailOf(folder: string, { readOnly }: SharedDirConfig): Partial<JailConfig> {
  const { euid, egid } = currentIds();
  return {
    root: { folder, readOnly },
    uidMap: [{ inside: 0, outside: euid, count: 1 }],
    gidMap: [{ inside: 0, outside: egid, count: 1 }],
    rlimits: { NOFILE: FS_NOFILE, CORE: 0 },
  };
}

function openFolder(path: string): Fd {
  try {
    return Fd.open(path, OpenFlag.PATH | OpenFlag.DIRECTORY);
  } catch (error) {
    if (error instanceof SyscallError) throw new ConfigError([pathMistake('--shared-dir', path, error)]);
    throw error;
  }
}

import { fs } from '#devices/virtio/fs/fs.ts';
import { FsParameters } from '#devices/virtio/fs/parameters.ts';
import type { JailConfig } from '#jail/jail-config.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { currentIds } from '#sys/credentials.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { ConfigError, pathMistake } from '../../config.ts';
import { resolvedFolder, type SharedDirConfig } from '../../fs-config.ts';
import { FS_NOFILE } from '../shared-dir.ts';
import type { DevicePlan } from './plan.ts';

/** Bits of a set, uapi/linux/capability.h. */
const CAP = { CHOWN: 1 << 0, DAC_OVERRIDE: 1 << 1, FOWNER: 1 << 3, FSETID: 1 << 4 } as const;

/** Throws ConfigError for a directory that cannot be used. */
export function fsPlan(
  config: SharedDirConfig,
  index: number,
  { opened, sandbox }: { readonly opened: DisposableStack; readonly sandbox: boolean },
): DevicePlan {
  const { path, tag, readOnly, cache, timeoutSeconds, writeback } = config;
  checkMaps(config, sandbox);
  const folder = openFolder(path);
  const givesAway = config.uidMap !== undefined;
  const own = { tag, readOnly, cache, timeoutSeconds, writeback, givesAway };
  const parameters = encodeBytes(FsParameters, own);
  const { policy, queueSizes } = fs;
  const plan = { device: 'fs', name: `fs${index}`, policy, queueCount: queueSizes.length, parameters } as const;
  if (!sandbox) return { ...plan, fds: [opened.use(folder)] };
  // A descriptor of the directory outside of the jail would lead out of it.
  folder.close();
  return { ...plan, fds: [], jail: jailOf(resolvedFolder(path), config) };
}

/** capabilities(7): what the guest's root may do with files whose owners are in the maps, and with no others. */
const FILE_CAPABILITIES = CAP.CHOWN | CAP.DAC_OVERRIDE | CAP.FOWNER | CAP.FSETID;

/** The directory is the root. Without maps the guest's root is the user that runs crosvm; nobody else has a number there. */
function jailOf(folder: string, { readOnly, uidMap, gidMap }: SharedDirConfig): Partial<JailConfig> {
  const { euid, egid } = currentIds();
  return {
    root: { folder, readOnly },
    uidMap: uidMap ?? [{ inside: 0, outside: euid, count: 1 }],
    gidMap: gidMap ?? [{ inside: 0, outside: egid, count: 1 }],
    rlimits: { NOFILE: FS_NOFILE, CORE: 0 },
    ...(uidMap === undefined ? {} : { capabilities: FILE_CAPABILITIES }),
  };
}

/** What the kernel would refuse later, or nothing would carry out. */
function checkMaps({ uidMap, gidMap }: SharedDirConfig, sandbox: boolean): void {
  if (uidMap === undefined && gidMap === undefined) return;
  const complain = (message: string): never => {
    throw new ConfigError([{ option: '--shared-dir', message: `uidmap and gidmap ${message}` }]);
  };
  if (!sandbox) complain('need the sandbox: without a user namespace there are no maps');
  if (currentIds().euid !== 0) complain('need root, who alone may map more than his own user');
}

function openFolder(path: string): Fd {
  try {
    return Fd.open(path, OpenFlag.PATH | OpenFlag.DIRECTORY);
  } catch (error) {
    if (error instanceof SyscallError) throw new ConfigError([pathMistake('--shared-dir', path, error)]);
    throw error;
  }
}

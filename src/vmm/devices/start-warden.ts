/** The warden of a machine, and which machines have one. Little is imported here: it is started before the rest of the program is loaded. */
import { Warden } from '#jail/warden.ts';
import { programEntry } from '#util/package-files.ts';
import type { Config } from '../config.ts';
import { consolePorts, jailedSerialPorts } from '../console-config.ts';

/** What of a machine's configuration is devices with processes. */
export type WantedDevices = Pick<
  Config,
  'disks' | 'inputs' | 'isolated' | 'nets' | 'pmems' | 'serial' | 'sharedDirs' | 'vsock'
>;

/** Whether a machine has device processes. */
export function wantsDevices({ isolated = [], ...wanted }: WantedDevices): boolean {
  const { disks, inputs, nets, pmems, serial, sharedDirs, vsock } = wanted;
  const lists = [disks, inputs, isolated, nets, pmems, sharedDirs, consolePorts(serial), jailedSerialPorts(serial)];
  return vsock !== undefined || lists.some((list) => list.length > 0);
}

/** Starts the warden and does not wait for it; it has no guest memory yet. Throws WardenError, SyscallError. */
export function startWarden(): Warden {
  return new Warden({ entry: programEntry('vmm/devices/warden-entry') });
}

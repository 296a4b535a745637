/** The warden process's module: loads every device and serves requests for them. */
import { runWarden } from '#jail/warden-process.ts';
import { installSeccompFilter } from '#sys/seccomp.ts';
import { DEVICE_MAKERS } from './registry.ts';
import { warmUpDevices } from './warm-up.ts';

runWarden({
  devices: DEVICE_MAKERS,
  installSeccomp: installSeccompFilter,
  // Measured: the first use of a Date opens /etc/localtime, which a jailed device cannot.
  warmUp: () => {
    new Date().toISOString();
    warmUpDevices();
  },
});

/** The warden of the fork bench: devices that wait. */
import { runWarden } from '../src/jail/warden-process.ts';
import { read } from '../src/sys/file.ts';
import { installSeccompFilter } from '../src/sys/seccomp.ts';

const byte = new Uint8Array(1);
runWarden({
  devices: {
    idle:
      ({ socket }) =>
      () =>
        read(socket, byte),
  },
  installSeccomp: installSeccompFilter,
});

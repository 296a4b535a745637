/** A warden with devices for tests. */
import { type DeviceResources, runWarden } from '#jail/warden-process.ts';
import { MemoryMapping } from '#memory/memory-mapping.ts';
import { decodeBytes } from '#msg-socket/bytes.ts';
import { OpenFlag, open, read, write } from '#sys/file.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { installSeccompFilter } from '#sys/seccomp.ts';
import { AdderParameters } from './adder-parameters.ts';

/** Adds its parameter to each byte it gets; ends when main has closed its end, or is told 255. */
function adder({ socket, parameters }: DeviceResources): () => number {
  const { add } = decodeBytes(AdderParameters, parameters);
  const byte = new Uint8Array(1);
  return () => {
    while (read(socket, byte) > 0) {
      if (byte[0] === 255) return 33;
      write(socket, Uint8Array.of((byte[0] ?? 0) + add));
    }
    return 0;
  };
}

/** Writes a byte into the guest's memory when asked. */
function writer({ socket, guestMemory }: DeviceResources): () => number {
  const memory = MemoryMapping.fromFd({ fd: guestMemory ?? -1, sizeBytes: PAGE_SIZE_BYTES });
  const byte = new Uint8Array(1);
  return () => {
    read(socket, byte);
    memory.bytes.set(byte, 100);
    write(socket, byte);
    return 0;
  };
}

/** Says something on the descriptor that came with the request, and how many of them came. */
function speaker({ fds }: DeviceResources): () => number {
  return () => {
    write(fds[0] ?? -1, Buffer.from('from the jail'));
    return fds.length;
  };
}

/** Does what its filter forbids. */
function opener(): () => number {
  return () => open('/dev/null', OpenFlag.RDONLY);
}

function broken(): () => number {
  throw new Error('cannot be made');
}

runWarden({ devices: { adder, writer, speaker, opener, broken }, installSeccomp: installSeccompFilter });

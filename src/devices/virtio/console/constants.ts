/** The console's numbers, VIRTIO 1.1 §5.3. */
import { struct, u16, u32 } from '#util/struct.ts';

/** Feature bits, §5.3.3. */
export const ConsoleFeature = { SIZE: 1n << 0n, EMERG_WRITE: 1n << 2n } as const;

/** `struct virtio_console_config`, §5.3.4. */
export const ConsoleConfig = struct({ cols: u16, rows: u16, maxNrPorts: u32, emergWr: u32 });

/** Queues of a device without MULTIPORT, §5.3.2. */
export const ConsoleQueue = { RECEIVE: 0, TRANSMIT: 1 } as const;

export const QUEUE_SIZES = [256, 256] as const;

/** The console's numbers, VIRTIO 1.1 §5.3. */
import { struct, u16, u32 } from '#util/struct.ts';

/** Feature bits, §5.3.3. */
export const ConsoleFeature = { SIZE: 1n << 0n, MULTIPORT: 1n << 1n, EMERG_WRITE: 1n << 2n } as const;

/** `struct virtio_console_config`, §5.3.4. */
export const ConsoleConfig = struct({ cols: u16, rows: u16, maxNrPorts: u32, emergWr: u32 });

/** `struct virtio_console_control`, §5.3.6.2. */
export const ControlMessage = struct({ id: u32, event: u16, value: u16 });

/** Follows a message RESIZE, §5.3.6.2. */
export const ControlSize = struct({ cols: u16, rows: u16 });

/** `event` of a control message, §5.3.6.2. */
export const ControlEvent = {
  DEVICE_READY: 0,
  PORT_ADD: 1,
  PORT_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

/** More would need a larger BAR at some time, and nobody has asked for them. */
export const PORTS_MAX = 16;
/** A message PORT_NAME has to fit into the driver's buffer; Linux gives a page. */
export const NAME_BYTES_MAX = 64;

/** The queues between device and driver of a device with MULTIPORT, §5.3.2. */
export const ControlQueue = { RECEIVE: 2, TRANSMIT: 3 } as const;

/** The number of a port's receive queue, §5.3.2; its transmit queue is the next. */
export function receiveQueueOf(port: number): number {
  return port === 0 ? 0 : 2 * port + 2;
}

const PORT_QUEUE_SIZE = 128;
const CONTROL_QUEUE_SIZE = 32;

/** All queues of a device with so many ports: without MULTIPORT there is one port and no control queue. */
export function consoleQueueSizes(portCount: number, isMultiport: boolean): readonly number[] {
  const sizes = new Array<number>(2 * portCount).fill(PORT_QUEUE_SIZE);
  if (isMultiport) sizes.splice(ControlQueue.RECEIVE, 0, CONTROL_QUEUE_SIZE, CONTROL_QUEUE_SIZE);
  return sizes;
}

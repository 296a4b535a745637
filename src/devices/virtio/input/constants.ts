/** VIRTIO 1.1 §5.8; linux/virtio_input.h, linux/input-event-codes.h and linux/input.h. */
import { struct, u8, u16, u32 } from '#util/struct.ts';

/** §5.8.2. */
export const InputQueue = { EVENT: 0, STATUS: 1 } as const;
export const QUEUE_SIZES = [64, 64] as const;

/** `select` of the configuration, §5.8.5. */
export const InputSelect = {
  UNSET: 0x00,
  ID_NAME: 0x01,
  ID_SERIAL: 0x02,
  ID_DEVIDS: 0x03,
  PROP_BITS: 0x10,
  EV_BITS: 0x11,
  ABS_INFO: 0x12,
} as const;

/** `struct virtio_input_config` before its union. */
export const InputConfigHeader = struct(
  { select: u8, subsel: u8, size: u8, reserved0: u8, reserved1: u32 },
  { packed: true },
);
export const UNION_BYTES = 128;
export const CONFIG_BYTES = InputConfigHeader.size + UNION_BYTES;

export const InputAbsInfo = struct({ min: u32, max: u32, fuzz: u32, flat: u32, resolution: u32 });
export const InputDevIds = struct({ busType: u16, vendor: u16, product: u16, version: u16 });
export const InputEvent = struct({ type: u16, code: u16, value: u32 });

export const BUS_VIRTUAL = 0x06;

export const EventType = { SYN: 0x00, KEY: 0x01, REL: 0x02, ABS: 0x03, LED: 0x11, REP: 0x14 } as const;
export const SYN_REPORT = 0;
export const Property = { POINTER: 0x00, DIRECT: 0x01 } as const;
export const Button = {
  LEFT: 0x110,
  RIGHT: 0x111,
  MIDDLE: 0x112,
  TOOL_FINGER: 0x145,
  TOUCH: 0x14a,
} as const;
export const Relative = { X: 0x00, Y: 0x01, WHEEL: 0x08 } as const;
export const Axis = { X: 0x00, Y: 0x01 } as const;
export const Led = { NUML: 0x00, CAPSL: 0x01, SCROLLL: 0x02 } as const;
export const Repeat = { DELAY: 0x00, PERIOD: 0x01 } as const;

/** What the bus asks of a device in another process. Reads wait for their reply; writes are posted, and arrive in order. */
import { struct } from '#msg-socket/composites.ts';
import { posted, protocol, request } from '#msg-socket/protocol.ts';
import { fixedBytes, u8, u16, u32, unit } from '#msg-socket/scalars.ts';

/** The widest access of a guest. */
export const ACCESS_BYTES_MAX = 8;

/** `sizeBytes` of `data` count. */
const access = { offset: u32, sizeBytes: u8 } as const;

export const DeviceProxy = protocol({
  readConfig: request(struct({ register: u16 }), struct({ value: u32 })),
  writeConfig: posted(struct({ register: u16, ...access, data: fixedBytes(ACCESS_BYTES_MAX) })),
  readBar: request(struct({ bar: u8, ...access }), struct({ data: fixedBytes(ACCESS_BYTES_MAX) })),
  writeBar: posted(struct({ bar: u8, ...access, data: fixedBytes(ACCESS_BYTES_MAX) })),
  /** The device stops its work before it answers: it touches no guest memory until `resume`. The bus is answered meanwhile. */
  suspend: request(unit, unit),
  resume: request(unit, unit),
  /** The machine ends: the device stops its work, answers, and its process ends. */
  shutdown: request(unit, unit),
});

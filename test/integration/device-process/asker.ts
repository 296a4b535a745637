/** What the test tells an asking device to ask of main, and what came of it. */
import { struct } from '#msg-socket/composites.ts';
import { posted, protocol, request } from '#msg-socket/protocol.ts';
import { bool, textUpTo, u8, u32, u64AsNumber, unit } from '#msg-socket/scalars.ts';

/** The first word of the memory that a device registers: so many for the device with this name. */
export const MARKS: Readonly<Record<string, number>> = { first: 0x1111, second: 0x2222 };

export const Asker = protocol({
  /** Registers memory of its own making. */
  register: posted(struct({ sizeBytes: u64AsNumber, isSealed: bool })),
  unregister: posted(struct({ slot: u32 })),
  addIoevent: posted(struct({ bar: u8, offset: u32 })),
  removeIoevent: posted(struct({ id: u32 })),
  allocateGsi: posted(unit),
  route: posted(struct({ gsi: u32 })),
  /** What came of the last: `ok` and the number that main gave, or the code of the refusal. */
  outcome: request(unit, struct({ code: textUpTo(64), value: u64AsNumber })),
  /** How often the ioevent that it has had last was signalled since this was asked last. */
  signals: request(unit, struct({ count: u64AsNumber })),
});

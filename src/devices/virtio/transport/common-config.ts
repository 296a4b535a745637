import { struct, u8, u16, u32, u64AsNumber } from '#util/struct.ts';

/** `struct virtio_pci_common_cfg`, VIRTIO 1.1 §4.1.4.3. */
export const CommonConfig = struct({
  deviceFeatureSelect: u32,
  deviceFeature: u32,
  driverFeatureSelect: u32,
  driverFeature: u32,
  msixConfig: u16,
  numQueues: u16,
  deviceStatus: u8,
  configGeneration: u8,
  queueSelect: u16,
  queueSize: u16,
  queueMsixVector: u16,
  queueEnable: u16,
  queueNotifyOff: u16,
  queueDesc: u64AsNumber,
  queueDriver: u64AsNumber,
  queueDevice: u64AsNumber,
});

export type CommonField = keyof typeof CommonConfig.fields;

/** The field that each byte of the structure belongs to. */
export const FIELD_AT: readonly CommonField[] = (Object.keys(CommonConfig.fields) as CommonField[]).flatMap((name) =>
  Array.from({ length: CommonConfig.fields[name].size }, () => name),
);

/** Where the four structures lie in the BAR, as crosvm has them; MSI-X follows at 0x6000. */
export const BAR = {
  COMMON: { offset: 0x0000, sizeBytes: CommonConfig.size },
  ISR: { offset: 0x1000, sizeBytes: 1 },
  DEVICE: { offset: 0x2000, sizeBytes: 0x1000 },
  NOTIFY: { offset: 0x3000, sizeBytes: 0x1000 },
} as const;

/** `notify_off_multiplier`, §4.1.4.4: the distance between the notification addresses of two queues. */
export const NOTIFY_OFF_MULTIPLIER = 4;

/** ISR status bits, §4.1.4.5. */
export const ISR = { QUEUE: 1, CONFIG: 2 } as const;

/** A virtio device as a PCI function, VIRTIO 1.1 §4.1: configuration space and MSI-X around the transport's registers. */

import type { InterruptLine } from '#hypervisor/irq-chip.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { EventFd } from '#poll/event-fd.ts';
import type { Log } from '#util/log.ts';
import { struct, u8, u32 } from '#util/struct.ts';
import { Intx } from '../pci/intx.ts';
import { MsixConfig, type MsixInterrupts, type MsixLayout, msixCapability } from '../pci/msix.ts';
import type { PciBar, PlacedBar } from '../pci/pci-bar.ts';
import { type PciCapability, type PciClass, PciConfiguration } from '../pci/pci-configuration.ts';
import type { PciBusDevice } from '../pci/pci-device.ts';
import { CAPABILITY, type InterruptPin, REGISTER } from '../pci/registers.ts';
import { DeviceType } from './constants.ts';
import type { VirtioDevice } from './device.ts';
import { BAR, NOTIFY_OFF_MULTIPLIER } from './transport/common-config.ts';
import { VirtioPciTransport } from './transport/pci-transport.ts';
import type { WorkerHost } from './worker.ts';

/** §4.1.2. */
const VENDOR_ID = 0x1af4;
const DEVICE_ID_BASE = 0x1040;
const REVISION = 1;
/** PCI Code and ID Assignment Specification 1.11: what a driver that knows no virtio may take the device for. */
const CLASSES: Readonly<Record<number, PciClass>> = {
  [DeviceType.NETWORK]: { base: 0x02, sub: 0x00, interface: 0 },
  [DeviceType.BLOCK]: { base: 0x01, sub: 0x80, interface: 0 },
  [DeviceType.CONSOLE]: { base: 0x07, sub: 0x80, interface: 0 },
  [DeviceType.INPUT]: { base: 0x09, sub: 0x80, interface: 0 },
  [DeviceType.VSOCK]: { base: 0x07, sub: 0x80, interface: 0 },
};
const OTHER_CLASS: PciClass = { base: 0xff, sub: 0x00, interface: 0 };

/** Everything lies in one BAR, as in crosvm's. */
export const VIRTIO_BAR: PciBar = { index: 0, kind: 'memory64', sizeBytes: 0x8000 };
const MSIX_TABLE_OFFSET = 0x6000;
const MSIX_PENDING_OFFSET = 0x7000;

/** Where a write kicks a queue, in the BAR. */
export const queueNotifyOffset = (queue: number): number => BAR.NOTIFY.offset + queue * NOTIFY_OFF_MULTIPLIER;
/** One for each queue and one for changes of the configuration. */
export const virtioVectorCount = (queueCount: number): number => queueCount + 1;

/** `cfg_type`, §4.1.4. */
const CONFIG_TYPE = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;
/** `struct virtio_pci_cap` after its first two bytes, which are every capability's. */
const VirtioPciCap = struct(
  { length: u8, configType: u8, bar: u8, id: u8, padding0: u8, padding1: u8, offset: u32, sizeBytes: u32 },
  { packed: true },
);
const HEADER_BYTES = 2;
const CAP_BYTES = HEADER_BYTES + VirtioPciCap.size;
const EXTRA_BYTES = 4;
/** Places in the capability of the window into the BARs, §4.1.4.7, from its start. */
const WINDOW = { BAR: 4, OFFSET: 8, SIZE: 12, DATA: 16 } as const;

function capability(
  configType: number,
  area: { offset: number; sizeBytes: number },
  extra?: Uint8Array,
): PciCapability {
  const length = CAP_BYTES + (extra?.length ?? 0);
  const fields = { configType, bar: VIRTIO_BAR.index, id: 0, padding0: 0, padding1: 0 };
  const body = new Uint8Array(length - HEADER_BYTES);
  body.set(VirtioPciCap.encode({ length, ...fields, offset: area.offset, sizeBytes: area.sizeBytes }));
  if (extra !== undefined) body.set(extra, VirtioPciCap.size);
  return { id: CAPABILITY.VENDOR, body };
}

/** The window: the guest chooses BAR, offset and size, and reads and writes the data. */
function windowCapability(): PciCapability {
  const { id, body } = capability(CONFIG_TYPE.PCI, { offset: 0, sizeBytes: 0 }, new Uint8Array(EXTRA_BYTES));
  const writable = new Uint8Array(body.length);
  writable[WINDOW.BAR - HEADER_BYTES] = 0xff;
  writable.fill(0xff, WINDOW.OFFSET - HEADER_BYTES);
  return { id, body, writable };
}

const multiplier = (): Uint8Array => new Uint8Array(Uint32Array.of(NOTIFY_OFF_MULTIPLIER).buffer);

/** How a function interrupts a driver without MSI-X. */
export interface VirtioIntx {
  readonly pin: InterruptPin;
  /** Where the pin arrives: what the interrupt line register tells first. */
  readonly gsi: number;
  readonly line: InterruptLine;
}

export interface VirtioPciDeviceOptions {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  /** One a queue; they stay the caller's. */
  readonly queueEvents: readonly EventFd[];
  readonly bars: readonly PlacedBar[];
  readonly interrupts: MsixInterrupts;
  readonly intx: VirtioIntx;
  readonly workers: WorkerHost;
  readonly log: Log;
}

/** Runs in the device's process. */
export class VirtioPciDevice implements PciBusDevice {
  readonly debugLabel: string;
  readonly #configuration: PciConfiguration;
  readonly #msix: MsixConfig;
  readonly #intx: Intx;
  readonly #transport: VirtioPciTransport;
  /** Registers of configuration space that mean something to the device. */
  readonly #msixRegister: number;
  readonly #window: number;
  readonly #windowData = new Uint8Array(4);

  constructor({ device, memory, queueEvents, bars, interrupts, intx, workers, log }: VirtioPciDeviceOptions) {
    this.debugLabel = device.name;
    const vectorCount = virtioVectorCount(queueEvents.length);
    const layout: MsixLayout = {
      vectorCount,
      table: { bar: VIRTIO_BAR.index, offset: MSIX_TABLE_OFFSET },
      pending: { bar: VIRTIO_BAR.index, offset: MSIX_PENDING_OFFSET },
    };
    this.#msix = new MsixConfig(new Uint32Array(MsixConfig.stateWords(vectorCount)), layout, interrupts);
    const capabilities = [
      capability(CONFIG_TYPE.COMMON, BAR.COMMON),
      capability(CONFIG_TYPE.NOTIFY, BAR.NOTIFY, multiplier()),
      capability(CONFIG_TYPE.ISR, BAR.ISR),
      capability(CONFIG_TYPE.DEVICE, BAR.DEVICE),
      windowCapability(),
      msixCapability(layout),
    ];
    const id = DEVICE_ID_BASE + device.deviceType;
    this.#configuration = new PciConfiguration(new Uint32Array(PciConfiguration.WORDS), {
      vendorId: VENDOR_ID,
      deviceId: id,
      revision: REVISION,
      class: CLASSES[device.deviceType] ?? OTHER_CLASS,
      subsystemVendorId: VENDOR_ID,
      subsystemId: id,
      bars: [VIRTIO_BAR],
      capabilities,
    });
    for (const bar of bars) this.#configuration.setBarAddress(bar.index, bar.address);
    this.#configuration.setInterrupt(intx.pin, intx.gsi);
    this.#intx = new Intx(this.#configuration, intx.line);
    const offsets = this.#configuration.capabilityOffsets;
    this.#window = offsets.at(-2) ?? 0;
    this.#msixRegister = (offsets.at(-1) ?? 0) / 4;
    const msix = this.#msix;
    this.#transport = new VirtioPciTransport({
      device,
      memory,
      queueEvents,
      vectorCount,
      workers,
      log,
      interrupt: {
        get msixEnabled() {
          return msix.enabled;
        },
        trigger: (vector) => msix.trigger(vector),
        setLine: (asserted) => this.#intx.set(asserted),
      },
    });
  }

  readConfigRegister(register: number): number {
    if (register * 4 === this.#window + WINDOW.DATA) this.#readWindow();
    return this.#configuration.readRegister(register);
  }

  writeConfigRegister(register: number, offset: number, data: Uint8Array): void {
    this.#configuration.writeRegister(register, offset, data);
    if (register === REGISTER.COMMAND_STATUS) this.#intx.update();
    else if (register === this.#msixRegister) this.#setMsixControl(this.#configuration.readRegister(register) >>> 16);
    else if (register * 4 === this.#window + WINDOW.DATA) this.#writeWindow();
  }

  readBar(bar: number, offset: number, data: Uint8Array): void {
    if (!this.#msix.readBar(bar, offset, data)) this.#transport.read(offset, data);
  }

  writeBar(bar: number, offset: number, data: Uint8Array): void {
    if (!this.#msix.writeBar(bar, offset, data)) this.#transport.write(offset, data);
  }

  /** The guest has ended the service of an interrupt at the GSI, and the line has let go. */
  resample(): void {
    this.#intx.resample();
  }

  /** The machine ends. */
  close(): void {
    this.#transport.close();
  }

  /** A function that uses MSI-X sends no INTx, PCI 3.0 §6.8.3.3. */
  #setMsixControl(control: number): void {
    this.#msix.setControl(control);
    if (this.#msix.enabled) this.#intx.set(false);
  }

  /** What the guest has pointed the window at; undefined for what §4.1.4.7.1 forbids. */
  #windowTarget(): { readonly offset: number; readonly data: Uint8Array } | undefined {
    const at = (place: number): number => this.#configuration.readRegister((this.#window + place) / 4) >>> 0;
    const sizeBytes = at(WINDOW.SIZE);
    const offset = at(WINDOW.OFFSET);
    const isSize = sizeBytes === 1 || sizeBytes === 2 || sizeBytes === 4;
    const isThere = (at(WINDOW.BAR) & 0xff) === VIRTIO_BAR.index && offset + sizeBytes <= VIRTIO_BAR.sizeBytes;
    if (!isSize || !isThere || offset % sizeBytes !== 0) return undefined;
    return { offset, data: this.#windowData.subarray(0, sizeBytes) };
  }

  #readWindow(): void {
    const target = this.#windowTarget();
    if (target === undefined) return;
    this.readBar(VIRTIO_BAR.index, target.offset, target.data);
    this.#configuration.writeRegister((this.#window + WINDOW.DATA) / 4, 0, target.data);
  }

  #writeWindow(): void {
    const target = this.#windowTarget();
    if (target === undefined) return;
    const value = this.#configuration.readRegister((this.#window + WINDOW.DATA) / 4);
    for (let i = 0; i < target.data.length; i++) target.data[i] = value >>> (8 * i);
    this.writeBar(VIRTIO_BAR.index, target.offset, target.data);
  }
}

import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import type { PciAddress } from '../pci/pci-address.ts';
import type { PlacedBar } from '../pci/pci-bar.ts';
import type { PciFunction } from '../pci/pci-device.ts';
import type { ProxyEnd } from './proxied-bus-device.ts';
import { ProxyDevice, type ProxyDeviceOptions } from './proxy-device.ts';
import { type SharedIoeventsDescription, sharedIoeventsOf } from './shared-ioevents.ts';

/** A PCI function whose device is in another process, as plain data for the vCPU threads. The descriptors are the main thread's. */
export interface ProxiedFunction extends ProxyEnd {
  readonly address: PciAddress;
  readonly bars: readonly PlacedBar[];
  readonly ioevents: readonly { readonly bar: number; readonly offset: number; readonly fd: number }[];
  /** Those that come and go. */
  readonly sharedIoevents?: SharedIoeventsDescription | undefined;
}

/** This thread's object for the function. It borrows the descriptors. */
export function pciFunctionOf(described: ProxiedFunction, onFailure: ProxyDeviceOptions['onFailure']): PciFunction {
  const { address, debugLabel, socketFd, sequence, bars } = described;
  const device = new ProxyDevice({ debugLabel, socket: { fd: socketFd }, sequence, onFailure });
  const ioevents = described.ioevents.map(({ bar, offset, fd }) => ({
    bar,
    offset,
    event: EventFd.fromFd(new Fd(fd)),
  }));
  const { sharedIoevents } = described;
  const shared = sharedIoevents === undefined ? [] : sharedIoeventsOf(sharedIoevents);
  return { address, device, bars, ioevents: [...ioevents, ...shared] };
}

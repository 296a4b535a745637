import { intxGsi } from '#devices/pci/intx.ts';
import { DEVICES_PER_BUS } from '#devices/pci/pci-address.ts';
import { INTERRUPT_PIN } from '#devices/pci/registers.ts';
import {
  type AddressRange,
  PCI_BUS_COUNT,
  PCI_CONFIG_SIZE,
  PCI_INTX_GSIS,
  PCI_LOW_MMIO,
  PORT,
  PORT_COUNT,
} from '../layout.ts';
import {
  type Aml,
  busNumbers,
  device,
  eisaId,
  integer,
  ioPorts,
  ioWindow,
  memoryWindow32,
  memoryWindow64,
  name,
  packageOf,
  resourceTemplate,
} from './aml.ts';

/** A host bridge of conventional PCI: there is no root port, and nothing of PCI Express to negotiate by _OSC. */
const PNP_PCI_HOST_BRIDGE = 'PNP0A03';
/** _ADR of a _PRT entry: any function of the device; ACPI 6.3 §6.2.13. */
const ANY_FUNCTION = 0xffff;
const PINS = [INTERRUPT_PIN.INTA, INTERRUPT_PIN.INTB, INTERRUPT_PIN.INTC, INTERRUPT_PIN.INTD] as const;

/** \\_SB.PCI0: bus 0, what the bridge passes on to it, and where its interrupt pins arrive. */
export function pciHostBridge(highMmio: AddressRange): Aml {
  return device(
    'PCI0',
    name('_HID', eisaId(PNP_PCI_HOST_BRIDGE)),
    name('_UID', integer(0)),
    name('_SEG', integer(0)),
    name('_BBN', integer(0)),
    name(
      '_CRS',
      resourceTemplate(
        busNumbers(0, PCI_BUS_COUNT),
        ioPorts(PORT.PCI_CONFIG, PCI_CONFIG_SIZE),
        ioWindow({ start: PORT.PCI_IO, sizeBytes: PORT_COUNT - PORT.PCI_IO }),
        memoryWindow32(PCI_LOW_MMIO),
        ...(highMmio.sizeBytes > 0 ? [memoryWindow64(highMmio)] : []),
      ),
    ),
    name('_PRT', packageOf(...interruptRoutes())),
  );
}

/** Every pin of every device but the host bridge, which has none; the source 0 says that the number is a GSI. */
function interruptRoutes(): Aml[] {
  const routes: Aml[] = [];
  for (let slot = 1; slot < DEVICES_PER_BUS; slot++) {
    for (const pin of PINS) {
      const gsi = intxGsi(slot, pin, PCI_INTX_GSIS);
      const address = slot * 0x1_0000 + ANY_FUNCTION;
      routes.push(packageOf(integer(address), integer(pin - INTERRUPT_PIN.INTA), integer(0), integer(gsi)));
    }
  }
  return routes;
}

import { type AddressRange, IRQ, PCI_ECAM, PORT, SERIAL_PORT_SIZE, SERIAL_PORTS, SLEEP_TYPE_S5 } from '../layout.ts';
import { concatBytes } from '../table-bytes.ts';
import {
  type Aml,
  device,
  eisaId,
  integer,
  ioPorts,
  isaIrq,
  memory32Fixed,
  name,
  packageOf,
  resourceTemplate,
  scope,
} from './aml.ts';
import { pciHostBridge } from './pci-host-bridge.ts';
import { systemDescriptionTable } from './sdt.ts';

/** Revision 2: integers have 64 bits. */
const REVISION = 2;
/** _STA, ACPI 6.3 §6.3.7: present, enabled, shown, working. */
const PRESENT = 0xf;

/** Plug and Play identifiers of the devices that a kernel finds by their ports alone. */
const PNP = { PIC: 'PNP0000', PIT: 'PNP0100', UART_16550A: 'PNP0501', RTC: 'PNP0B00', RESERVED: 'PNP0C02' } as const;

/**
 * The differentiated system description table: the S5 state, the PCI bus and the legacy devices. It has no processor objects: the MADT
 * names the processors, and without C-states of their own they idle by a plain HLT. It has no keyboard controller.
 */
export function dsdt(highMmio: AddressRange): Uint8Array {
  const sleepS5 = name('\\_S5', packageOf(integer(SLEEP_TYPE_S5), integer(SLEEP_TYPE_S5), integer(0), integer(0)));
  const devices = scope(
    '\\_SB',
    pciHostBridge(highMmio),
    ...interruptAndTimerDevices(),
    ...SERIAL_PORTS.map(serialDevice),
  );
  return systemDescriptionTable('DSDT', REVISION, concatBytes(sleepS5, devices));
}

function serialDevice(port: (typeof SERIAL_PORTS)[number], index: number): Aml {
  return device(
    port.name,
    name('_HID', eisaId(PNP.UART_16550A)),
    name('_UID', integer(index + 1)),
    name('_STA', integer(PRESENT)),
    name('_CRS', resourceTemplate(ioPorts(port.ioBase, SERIAL_PORT_SIZE), isaIrq(port.irq))),
  );
}

function interruptAndTimerDevices(): Aml[] {
  return [
    device(
      'PIC',
      name('_HID', eisaId(PNP.PIC)),
      name(
        '_CRS',
        resourceTemplate(
          ioPorts(PORT.PIC_MASTER, 2),
          ioPorts(PORT.PIC_SLAVE, 2),
          ioPorts(PORT.PIC_ELCR, 2),
          isaIrq(IRQ.PIC_CASCADE),
        ),
      ),
    ),
    device(
      'TIMR',
      name('_HID', eisaId(PNP.PIT)),
      name('_CRS', resourceTemplate(ioPorts(PORT.PIT, 4), isaIrq(IRQ.PIT))),
    ),
    device('RTC', name('_HID', eisaId(PNP.RTC)), name('_CRS', resourceTemplate(ioPorts(PORT.RTC, 2), isaIrq(IRQ.RTC)))),
    device(
      'SYSR',
      name('_HID', eisaId(PNP.RESERVED)),
      name('_CRS', resourceTemplate(ioPorts(PORT.DEBUG_CONSOLE, 1), memory32Fixed(PCI_ECAM))),
    ),
  ];
}

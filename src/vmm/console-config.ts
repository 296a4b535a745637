/** The ports of the virtio console as the user describes them, and what the kernel is told of its consoles. */
import { SERIAL_PORTS } from '#arch/x86_64/layout.ts';
import { NAME_BYTES_MAX, PORTS_MAX } from '#devices/virtio/console/constants.ts';
import type { SerialConfig } from './config.ts';

/** The numbers of ports. */
export const CONSOLE_NUM = { min: 1, max: PORTS_MAX } as const;

/** What udev makes a file of, `/dev/virtio-ports/NAME`. */
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9._:-]+$/;

/** The ports in the order of their numbers: the place in it is what the guest calls the port. */
export function consolePorts(serial: readonly SerialConfig[]): readonly SerialConfig[] {
  return serial.filter(({ hardware }) => hardware === 'virtio-console').toSorted((a, b) => a.num - b.num);
}

/** The serial ports that have processes of their own. */
export function jailedSerialPorts(serial: readonly SerialConfig[]): readonly SerialConfig[] {
  return serial.filter(({ hardware, jail }) => hardware === 'serial' && jail === true);
}

/** Whether a port is for text, `hvc` in Linux: one with a name is for programs, unless it is the kernel's console. */
export function isTextPort({ console, name }: SerialConfig): boolean {
  return console || name === undefined;
}

/** What is wrong with the keys that only some ports have. */
export function consoleProblems(serial: readonly SerialConfig[]): string[] {
  const problems: string[] = [];
  const names = new Set<string>();
  for (const { hardware, num, name, earlycon, jail } of serial) {
    if (jail === true && hardware !== 'serial') {
      problems.push(`hardware=${hardware},num=${num}: jail=true needs hardware=serial`);
    }
    if (earlycon === true && hardware !== 'serial') {
      problems.push(`hardware=${hardware},num=${num}: earlycon=true needs hardware=serial`);
    }
    if (name === undefined) continue;
    if (hardware !== 'virtio-console')
      problems.push(`hardware=${hardware},num=${num}: name needs hardware=virtio-console`);
    if (!NAME.test(name) || name.length > NAME_BYTES_MAX) {
      problems.push(`name: must be up to ${NAME_BYTES_MAX} letters, digits and . _ : -`);
    } else if (names.has(name)) problems.push(`name=${name} is given twice`);
    names.add(name);
  }
  if (serial.filter(({ earlycon }) => earlycon).length > 1)
    problems.push('earlycon=true is given to several ports; one can have it');
  return problems;
}

/** The port that the kernel writes to by its serial driver: that of the console, else the early one. */
export function serialConsoleOf(serial: readonly SerialConfig[]): SerialConfig | undefined {
  const ports = serial.filter(({ hardware }) => hardware === 'serial');
  return ports.find((port) => port.console) ?? ports.find(({ earlycon }) => earlycon);
}

/**
 * What tells the kernel of its early console and of one on the virtio console: the how manieth text port it is. That of a serial
 * port is said when the machine is built.
 */
export function consoleParameters(serial: readonly SerialConfig[]): string[] {
  const early = serial.find(({ earlycon }) => earlycon);
  const ioBase = early && SERIAL_PORTS[early.num - 1]?.ioBase;
  const hvc = consolePorts(serial)
    .filter(isTextPort)
    .findIndex((port) => port.console);
  return [
    ...(ioBase === undefined ? [] : [`earlycon=uart8250,io,0x${ioBase.toString(16)}`]),
    ...(hvc < 0 ? [] : [`console=hvc${hvc}`]),
  ];
}

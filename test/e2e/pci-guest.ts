/**
 * A machine of one processor with a test device on its PCI bus, run in a worker: `crosvm run` has no option for such a device.
 * Posts what the guest has written to its console, and every interrupt message that the device has sent.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Board } from '#arch/x86_64/board.ts';
import { buildVm } from '#arch/x86_64/build-vm.ts';
import { PCI_INTX_GSIS, PORT, systemResources } from '#arch/x86_64/layout.ts';
import { intxOf } from '#devices/pci/intx.ts';
import type { MsixInterrupts } from '#devices/pci/msix.ts';
import type { PciFunction } from '#devices/pci/pci-device.ts';
import { TestPciDevice } from '#devices/pci/testing.ts';
import type { IrqChip } from '#hypervisor/irq-chip.ts';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import { SystemAllocator } from '#resources/system-allocator.ts';
import { MiB } from '#util/bits.ts';
import { clockSince, monotonicNs } from '#util/clock.ts';

export interface PciGuestOptions {
  readonly kernel: string;
  readonly initrds: readonly string[];
  readonly params: string;
  /** Whether the ports of configuration mechanism #1 are there. */
  readonly hasConfigIo: boolean;
}

export interface PciGuestResult {
  readonly console: string;
  readonly messages: readonly string[];
}

const MEMORY_BYTES = 256 * MiB;
const ADDRESS = { device: 3, function: 0 } as const;

/** Sends each vector's message by way of the interrupt chips, as the main process does for a device. */
function messageInterrupts(irqChip: IrqChip, messages: string[]): MsixInterrupts {
  const routes = new Map<number, { address: number; data: number }>();
  return {
    allocateVector: () => true,
    route: (vector, address, data) => void routes.set(vector, { address, data }),
    trigger: (vector) => {
      const route = routes.get(vector);
      if (route === undefined) return;
      messages.push(`${route.address.toString(16)} ${route.data.toString(16)}`);
      irqChip.send(route.address, route.data);
    },
  };
}

function testFunction(
  irqChip: IrqChip,
  highMmio: { start: number; sizeBytes: number },
  messages: string[],
): PciFunction {
  const { gsi, pin } = intxOf(ADDRESS, PCI_INTX_GSIS);
  const device = new TestPciDevice(new Uint32Array(TestPciDevice.STATE_WORDS), {
    line: irqChip.line(gsi, ADDRESS.device),
    interrupts: messageInterrupts(irqChip, messages),
  });
  device.assignIrq(gsi, pin);
  const bars = device.allocateIoBars(new SystemAllocator(systemResources(highMmio)));
  return { address: ADDRESS, device, bars, ioevents: [] };
}

function run({ kernel, initrds, params, hasConfigIo }: PciGuestOptions): PciGuestResult {
  const clock = clockSince(monotonicNs());
  const components = {
    kernelPath: kernel,
    initrdPaths: initrds,
    memorySizeBytes: MEMORY_BYTES,
    cpuCount: 1,
    consolePort: 0,
    params: ['quiet loglevel=1', params],
    version: 'test',
  };
  using machine = buildVm(components, softwareHypervisor, clock);
  const { vm, board: description } = machine;
  const messages: string[] = [];
  let console = '';
  const sink = { write: () => {} };
  const end = (): void => vm.kick(0);
  const board = new Board({
    ...description,
    irqChip: vm.irqChip,
    clock,
    serialOutputs: [{ write: (byte) => (console += String.fromCharCode(byte)) }, sink, sink, sink],
    pciFunctions: [testFunction(vm.irqChip, description.highMmio, messages)],
    events: { onPowerOff: end, onReset: end, onInputSpace: () => {} },
  });
  const configIo = board.ports.deviceAt(PORT.PCI_CONFIG);
  if (!hasConfigIo && configIo !== undefined) board.ports.remove(configIo);
  using vcpu = vm.createVcpu(0, board);
  const [state] = machine.vcpuStates;
  if (state !== undefined) vcpu.setState(state);
  vcpu.run();
  return { console, messages };
}

await softwareHypervisor.loadVcpus();
parentPort?.postMessage(run(workerData as PciGuestOptions));

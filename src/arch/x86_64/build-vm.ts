import { randomFillSync } from 'node:crypto';
import type { Hypervisor, VcpuState } from '#hypervisor/vm.ts';
import { CommandLine } from '#kernel/command-line.ts';
import { loadInitrd } from '#kernel/initrd.ts';
import { loadKernel } from '#kernel/load-kernel.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import type { Clock } from '#util/clock.ts';
import type { RunnableLinuxVm } from '../runnable-linux-vm.ts';
import { BOARD_STATE_WORDS } from './board.ts';
import { bootMsrs, LOCAL_APIC_BOOT_REGISTERS } from './boot-registers.ts';
import { COMMAND_LINE_MAX_BYTES, highMmioRange, KVM_IDENTITY_MAP_ADDRESS, memoryRanges } from './layout.ts';
import { writeBootStructures } from './write-boot-structures.ts';

export interface VmComponents {
  readonly kernelPath: string;
  readonly initrdPaths: readonly string[];
  readonly memorySizeBytes: number;
  readonly cpuCount: number;
  /** Serial port (0 to 3) that is the kernel's console, if one is. */
  readonly consolePort: number | undefined;
  /** The user's kernel parameters: they come last and so override ours. */
  readonly params: readonly string[];
  /** Shown by SMBIOS. */
  readonly version: string;
  /** What memory regions besides RAM may take in all; 0 by default. */
  readonly regionRoomBytes?: number;
  /** As of VmOptions. */
  readonly compiles?: boolean;
}

/**
 * Builds the x86_64 machine and loads the kernel into it. Throws KernelLoadError, CommandLineError and BootError for what is
 * wrong with the user's files and options, SyscallError when the host refuses the memory.
 */
export function buildVm(components: VmComponents, hypervisor: Hypervisor, clock: Clock): RunnableLinuxVm {
  const { cpuCount, memorySizeBytes, regionRoomBytes = 0, compiles = true } = components;
  using owned = new DisposableStack();
  const ranges = memoryRanges(memorySizeBytes);
  const memory = owned.use(GuestMemory.create(ranges));
  const kernel = loadKernel(components.kernelPath, memory);
  const initrd = loadInitrd(components.initrdPaths, memory, kernel);
  const highMmio = highMmioRange(memorySizeBytes, hypervisor.physicalAddressBits);
  const registers = writeBootStructures(memory, {
    kernel,
    ...(initrd !== undefined && { initrd }),
    commandLine: commandLine(components, Math.min(kernel.commandLineMaxBytes, COMMAND_LINE_MAX_BYTES)),
    cpuCount,
    highMmio,
    fillRandom: (target) => void randomFillSync(target),
    version: components.version,
  });
  const vm = owned.use(
    hypervisor.createVm({
      memory,
      vcpuCount: cpuCount,
      clock,
      regionRoomBytes,
      compiles,
      spareAddress: KVM_IDENTITY_MAP_ADDRESS,
    }),
  );
  const state: VcpuState = {
    ...registers,
    msrs: bootMsrs(hypervisor.physicalAddressBits),
    localApic: LOCAL_APIC_BOOT_REGISTERS,
  };
  const [low, high] = ranges;
  const boardState = new Int32Array(new SharedArrayBuffer(BOARD_STATE_WORDS * Int32Array.BYTES_PER_ELEMENT));
  const parts = owned.move();
  return {
    vm,
    memory,
    vcpuStates: Array.from({ length: cpuCount }, () => state),
    board: {
      state: boardState,
      lowMemoryBytes: low?.sizeBytes ?? 0,
      highMemoryBytes: high?.sizeBytes ?? 0,
      highMmio,
    },
    [Symbol.dispose]: () => parts.dispose(),
  };
}

/** A panic reboots at once, which ends the VM: a machine that hangs in a panic helps nobody. */
function commandLine({ consolePort, params }: VmComponents, maxBytes: number): CommandLine {
  const line = new CommandLine(maxBytes);
  if (consolePort !== undefined) line.append(`console=ttyS${consolePort}`);
  line.append('panic=-1');
  for (const text of params) line.append(text);
  return line;
}

/** A thread that runs one vCPU until it is kicked; a read of any port waits until the main thread lets it go on. */
import { parentPort, workerData } from 'node:worker_threads';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import type { VcpuBus, VcpuState, VmDescription } from '#hypervisor/vm.ts';
import { clockSince, monotonicNs } from '#util/clock.ts';

/** Words of the control memory: whether the thread waits in a port, and whether it may go on. */
export const CONTROL = { IN_PORT: 0, GO_ON: 1, WORDS: 2 } as const;

export interface VcpuData {
  readonly vm: VmDescription;
  readonly state: VcpuState;
  readonly control: Int32Array;
}

function run({ vm: description, state, control }: VcpuData): string {
  using vm = softwareHypervisor.attachVm(description, { clock: clockSince(monotonicNs()) });
  const bus: VcpuBus = {
    readPort: (_port, data) => {
      data.fill(0);
      Atomics.store(control, CONTROL.IN_PORT, 1);
      Atomics.notify(control, CONTROL.IN_PORT);
      Atomics.wait(control, CONTROL.GO_ON, 0);
    },
    writePort: () => {},
    readMmio: (_address, data) => void data.fill(0xff),
    writeMmio: () => {},
    flush: () => {},
    timers: { nextDeadlineNs: () => Infinity, advance: () => {} },
  };
  using vcpu = vm.createVcpu(0, bus);
  vcpu.setState(state);
  return vcpu.run().reason;
}

await softwareHypervisor.loadVcpus();
parentPort?.postMessage(run(workerData as VcpuData));

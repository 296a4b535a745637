/**
 * npm run bench -- kvm-exits [--exits 20000] [--rounds 5]
 *
 * How long exits of KVM take that the vCPU's thread handles by its bus, beside a C program that does the same ioctls and nothing else, in turn on
 * the same /dev/kvm: port output, port input, a write where there is no RAM. The guest needs no hardware behind the device. Where
 * there is none at all, `npm run test:kvm -- --shell 'node bench/run.ts kvm-exits'` has one.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Bus } from '../src/devices/bus.ts';
import type { BusDevice } from '../src/devices/bus-device.ts';
import { kvmHypervisor } from '../src/hypervisor/kvm/kvm-vm.ts';
import type { VcpuBus } from '../src/hypervisor/vm.ts';
import { GuestMemory } from '../src/memory/guest-memory.ts';
import { hostClock } from '../src/util/clock.ts';
import { realMode } from '../test/kvm/small-vm.ts';
import { C_PROGRAMS } from '../tools/kvm-lab/script.ts';
import { type Bench, BenchUsageError } from './bench.ts';

const OPTIONS = { exits: { type: 'string', default: '20000' }, rounds: { type: 'string', default: '5' } } as const;

/** As in kvm-exits.c. */
const RAM_BYTES = 0x1_0000;
const CODE_ADDRESS = 0x1000;
const PORT = 0x10;
const MMIO_ADDRESS = 0xa_0000;
const LOAD_ES = [0xb8, 0x00, 0xa0, 0x8e, 0xc0];
const KINDS = {
  out: [0xe6, PORT, 0xeb, 0xfc],
  in: [0xe4, PORT, 0xeb, 0xfc],
  mmio: [0x26, 0xa2, 0x00, 0x00, 0xeb, 0xfa],
} as const;
type Kind = keyof typeof KINDS;

/** Calls back at two of its accesses. */
class CountingDevice implements BusDevice {
  readonly name = 'counting';
  #value = 0;
  #left: number;
  readonly #warmUp: number;
  readonly #onWarm: () => void;
  readonly #onEnd: () => void;

  constructor(count: number, onWarm: () => void, onEnd: () => void) {
    this.#left = count + Math.floor(count / 10);
    this.#warmUp = count;
    this.#onWarm = onWarm;
    this.#onEnd = onEnd;
  }

  read(_offset: number, data: Uint8Array): void {
    data.fill(this.#value);
    this.#count();
  }

  write(offset: number, data: Uint8Array): void {
    for (let index = 0; index < data.length; index++) this.#value ^= (data[index]! + offset) & 0xff;
    this.#count();
  }

  #count(): void {
    this.#left--;
    if (this.#left === this.#warmUp) this.#onWarm();
    else if (this.#left === 0) this.#onEnd();
  }
}

/** Nanoseconds of an exit. */
function ours(kind: Kind, exits: number): number {
  using memory = GuestMemory.create([{ start: 0, sizeBytes: RAM_BYTES }]);
  memory.writeBytes(CODE_ADDRESS, Uint8Array.from([...LOAD_ES, ...KINDS[kind]]));
  using vm = kvmHypervisor.createVm({ memory, vcpuCount: 1, clock: hostClock, spareAddress: 0xfeff_c000 });
  let [startedNs, endedNs] = [0, 0];
  const device = new CountingDevice(
    exits,
    () => {
      startedNs = hostClock.nowNs();
    },
    () => {
      endedNs = hostClock.nowNs();
      vm.kick(0);
    },
  );
  using vcpu = vm.createVcpu(0, busWith(device));
  vcpu.setState(realMode());
  const exit = vcpu.run();
  if (exit.reason !== 'kicked' || endedNs === 0) throw new Error(`the guest ended: ${JSON.stringify(exit)}`);
  return (endedNs - startedNs) / exits;
}

function busWith(device: BusDevice): VcpuBus {
  const [ports, mmio] = [new Bus(), new Bus()];
  ports.insert(device, { start: PORT, sizeBytes: 1 }, 'relative');
  mmio.insert(device, { start: MMIO_ADDRESS, sizeBytes: 0x1000 }, 'relative');
  return {
    readPort: (port, data) => void ports.read(port, data),
    writePort: (port, data) => void ports.write(port, data),
    readMmio: (address, data) => void mmio.read(address, data),
    writeMmio: (address, data) => void mmio.write(address, data),
    flush: () => {},
    timers: { nextDeadlineNs: () => Infinity, advance: () => {} },
  };
}

/** The lab has it compiled. */
function compiledProgram(folder: string): string {
  const compiled = `/${C_PROGRAMS}/kvm-exits`;
  if (existsSync(compiled)) return compiled;
  const program = join(folder, 'kvm-exits');
  execFileSync('cc', ['-O2', '-o', program, join(import.meta.dirname, 'kvm-exits.c')]);
  return program;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const microseconds = (ns: number): string => `${(ns / 1000).toFixed(2)} µs`;

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({ args: parameters, options: OPTIONS, strict: true });
  const [exits, rounds] = [Number(values.exits), Number(values.rounds)];
  if (!Number.isInteger(exits) || exits < 10) throw new BenchUsageError('--exits takes a whole number from 10');
  if (!Number.isInteger(rounds) || rounds < 1) throw new BenchUsageError('--rounds takes a whole number from 1');
  await kvmHypervisor.loadVcpus();
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    const program = compiledProgram(folder);
    for (const kind of Object.keys(KINDS) as Kind[]) {
      const times: { ours: number; theirs: number }[] = [];
      for (let round = 0; round < rounds; round++) {
        const theirs = Number(execFileSync(program, [kind, `${exits}`], { encoding: 'utf8' }));
        times.push({ ours: ours(kind, exits), theirs });
      }
      const rate = median(times.map((time) => time.theirs / time.ours));
      const [own, c] = [median(times.map((time) => time.ours)), median(times.map(({ theirs }) => theirs))];
      console.log(
        `${kind.padEnd(5)} ${microseconds(own)} an exit, C ${microseconds(c)}: ${rate.toFixed(2)} of its rate`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

const bench: Bench = {
  name: 'kvm-exits',
  describe: 'exits of KVM for ports and memory, beside a C program',
  run,
};
export default bench;

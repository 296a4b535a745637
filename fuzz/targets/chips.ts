/** The interrupt chips, the serial port, the clock and the power block under any accesses at any times. */
import assert from 'node:assert/strict';
import { AcpiPm } from '#devices/legacy/acpi-pm.ts';
import { Cmos } from '#devices/legacy/cmos.ts';
import { Serial } from '#devices/legacy/serial.ts';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import type { LocalApic } from '#hypervisor/software/local-apic.ts';
import type { DeadlineSource } from '#util/deadline.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

interface Accessed {
  read(offset: number, data: Uint8Array): void;
  write(offset: number, data: Uint8Array): void;
}

const STEPS = 400;
const SIZES = [1, 2, 4, 8] as const;
const MSRS = [0x1b, 0x6e0, 0x800, 0x808, 0x80b, 0x80f, 0x828, 0x830, 0x832, 0x838, 0x83e, 0x83f, 0x8ff] as const;
const SERIAL_FIFO = 16;

class Machine {
  timeNs = 0;
  /** What is asserted until its end. */
  readonly untilEnd = new Set<number>();
  readonly chip: SoftwareIrqChip;
  readonly apic: LocalApic;
  readonly serial: Serial;
  readonly devices: readonly Accessed[];
  readonly timers: readonly DeadlineSource[];

  constructor() {
    const clock = { nowNs: () => this.timeNs, wallMs: () => 1.6e12 + Math.floor(this.timeNs / 1e6) };
    const state = new Int32Array(new SharedArrayBuffer(SoftwareIrqChip.stateWords(1) * 4));
    const onEnd = (gsi: number): void => assert.ok(this.untilEnd.delete(gsi), `GSI ${gsi} ends once`);
    this.chip = new SoftwareIrqChip(state, { vcpuCount: 1, clock, tscToNs: (_vcpu, ticks) => ticks, onEnd });
    this.apic = this.chip.localApics[0] as LocalApic;
    this.serial = new Serial(new Int32Array(Serial.STATE_WORDS), {
      name: 'serial0',
      interrupt: this.chip.line(4),
      output: { write: () => {} },
    });
    const memory = { lowMemoryBytes: 2 ** 28, highMemoryBytes: 0 };
    const cmos = new Cmos(new Int32Array(Cmos.STATE_WORDS), { clock, interrupt: this.chip.line(8), ...memory });
    const pm = new AcpiPm(new Int32Array(AcpiPm.STATE_WORDS), {
      clock,
      interrupt: this.chip.line(9),
      onPowerOff: () => {},
    });
    this.devices = [...this.chip.parts.values(), this.apic, this.serial, cmos, pm];
    this.timers = [this.chip, this.apic, cmos, pm];
  }
}

function access(machine: Machine, random: Random): void {
  const device = random.pick(machine.devices);
  const data = new Uint8Array(random.pick(SIZES));
  const offset = device === machine.apic ? random.below(0x1000) : random.below(random.pick([4, 16, 64, 0x100]));
  if (random.below(2) === 0) device.read(offset, data);
  else {
    for (let i = 0; i < data.length; i++) data[i] = random.below(256);
    device.write(offset, data);
  }
}

function step(machine: Machine, random: Random): void {
  switch (random.below(11)) {
    case 0:
      machine.timeNs += random.below(random.pick([100, 1e6, 2e9]));
      break;
    case 1:
      for (const timer of machine.timers) if (timer.nextDeadlineNs() <= machine.timeNs) timer.advance(machine.timeNs);
      break;
    case 2:
      machine.chip.line(random.below(24), random.below(31)).set(random.below(2) === 0);
      break;
    case 3:
      machine.apic.acknowledge();
      break;
    case 4:
      machine.serial.enqueueInput(new Uint8Array(random.below(40)));
      break;
    case 5: {
      const msr = random.pick(MSRS);
      if (random.below(2) === 0) machine.apic.readMsr(msr);
      else machine.apic.writeMsr(msr, random.u32() | 0, random.below(3) === 0 ? random.u32() | 0 : 0);
      break;
    }
    case 7: {
      const gsi = 3 + random.below(21);
      machine.untilEnd.add(gsi);
      machine.chip.assertUntilEnd(gsi);
      break;
    }
    case 6:
      machine.chip.send(0xfee0_0000 + random.below(0x10_0000), random.u32());
      break;
    default:
      access(machine, random);
  }
}

export const target: FuzzTarget = {
  name: 'chips',
  run(random) {
    const machine = new Machine();
    for (let i = 0; i < STEPS; i++) {
      step(machine, random);
      for (const timer of machine.timers) assert.ok(!Number.isNaN(timer.nextDeadlineNs()), 'a deadline is a time');
      const space = machine.serial.inputSpace();
      assert.ok(space >= 0 && space <= SERIAL_FIFO, `room for ${space} bytes`);
      const vector = machine.apic.pending();
      assert.ok(Number.isInteger(vector));
    }
    // Whatever was programmed, time goes on: what is due does not come due again and again at the same moment.
    for (let i = 0; i < 10_000; i++) {
      const due = machine.timers.filter((timer) => timer.nextDeadlineNs() <= machine.timeNs);
      if (due.length === 0) return;
      for (const timer of due) timer.advance(machine.timeNs);
    }
    assert.fail('a timer stays due');
  },
};

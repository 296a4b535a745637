import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LocalApic } from './local-apic.ts';
import { PENDING } from './local-apic-inbox.ts';
import { ManualClock, read32, write32 } from './testing.ts';

const R = {
  ID: 0x20,
  VERSION: 0x30,
  TPR: 0x80,
  PPR: 0xa0,
  EOI: 0xb0,
  LDR: 0xd0,
  DFR: 0xe0,
  SVR: 0xf0,
  ISR: 0x100,
  TMR: 0x180,
  IRR: 0x200,
  ESR: 0x280,
  ICR: 0x300,
  ICR_HIGH: 0x310,
  LVT_TIMER: 0x320,
  LINT0: 0x350,
  LVT_ERROR: 0x370,
  INITIAL: 0x380,
  CURRENT: 0x390,
  DIVIDE: 0x3e0,
} as const;
const MASKED = 1 << 16;
const PERIODIC = 1 << 17;
const TSC_DEADLINE = 2 << 17;

function createApic(options: { enabled?: boolean; id?: number } = {}) {
  const clock = new ManualClock();
  const ended: number[] = [];
  const sent: string[] = [];
  let pic = -1;
  const state = new Int32Array(new SharedArrayBuffer(LocalApic.STATE_WORDS * 4));
  const apic = new LocalApic(state, {
    id: options.id ?? 0,
    bootProcessor: true,
    clock,
    bus: {
      sendIpi: (_sender, destination, command) => void sent.push(`${destination}:${command.toString(16)}`),
      endOfInterrupt: (vector) => void ended.push(vector),
      retryInterrupts: () => {},
      acknowledgePic: () => pic,
    },
    tscToNs: (ticks) => ticks,
  });
  if (options.enabled !== false) write32(apic, R.SVR, 0x1ff);
  const toX2apic = (): void => void apic.writeMsr(0x1b, 0xfee0_0d00 | 0, 0);
  const setPic = (vector: number): void => {
    pic = vector;
  };
  return { apic, clock, ended, sent, toX2apic, setPic };
}

describe('interrupts of a local APIC', () => {
  test('a vector goes through request and service to its EOI', () => {
    const { apic, ended } = createApic();
    apic.inbox.post(0x41, false);
    assert.equal(apic.pending() & PENDING.INTERRUPT, PENDING.INTERRUPT);
    assert.equal(read32(apic, R.IRR + 0x20), 1 << 1);
    assert.equal(apic.acknowledge(), 0x41);
    assert.deepEqual([read32(apic, R.IRR + 0x20), read32(apic, R.ISR + 0x20)], [0, 1 << 1]);
    assert.equal(apic.acknowledge(), -1);
    write32(apic, R.EOI, 0);
    assert.equal(read32(apic, R.ISR + 0x20), 0);
    assert.deepEqual(ended, []);
  });

  test('the EOI of a level-triggered vector is passed on, unless that is suppressed', () => {
    const { apic, ended } = createApic();
    apic.inbox.post(0x41, true);
    apic.acknowledge();
    write32(apic, R.EOI, 0);
    assert.deepEqual(ended, [0x41]);
    write32(apic, R.SVR, 0x11ff);
    apic.inbox.post(0x41, true);
    apic.acknowledge();
    write32(apic, R.EOI, 0);
    assert.deepEqual(ended, [0x41]);
  });

  test('the highest vector comes first, and only a higher class interrupts a service', () => {
    const { apic } = createApic();
    apic.inbox.post(0x31, false);
    apic.inbox.post(0x52, false);
    assert.equal(apic.acknowledge(), 0x52);
    apic.inbox.post(0x5f, false);
    assert.equal(apic.acknowledge(), -1);
    apic.inbox.post(0x60, false);
    assert.equal(apic.acknowledge(), 0x60);
    assert.equal(read32(apic, R.PPR), 0x60);
    write32(apic, R.EOI, 0);
    write32(apic, R.EOI, 0);
    assert.equal(apic.acknowledge(), 0x5f);
  });

  test('the task priority holds back its class and lower ones', () => {
    const { apic } = createApic();
    write32(apic, R.TPR, 0x50);
    apic.inbox.post(0x5f, false);
    assert.equal(apic.acknowledge(), -1);
    assert.equal(apic.pending() & PENDING.INTERRUPT, 0);
    write32(apic, R.TPR, 0x40);
    assert.equal(apic.pending() & PENDING.INTERRUPT, PENDING.INTERRUPT);
    assert.equal(apic.acknowledge(), 0x5f);
    apic.writeCr8(9);
    assert.deepEqual([read32(apic, R.TPR), apic.readCr8()], [0x90, 9]);
  });

  test('the same vector twice before its acknowledgement is one interrupt', () => {
    const { apic } = createApic();
    apic.inbox.post(0x41, false);
    apic.inbox.post(0x41, false);
    assert.equal(apic.acknowledge(), 0x41);
    write32(apic, R.EOI, 0);
    assert.equal(apic.acknowledge(), -1);
  });

  test('one that comes during its own service waits for the EOI', () => {
    const { apic } = createApic();
    apic.inbox.post(0x41, false);
    apic.acknowledge();
    apic.inbox.post(0x41, false);
    assert.equal(apic.acknowledge(), -1);
    write32(apic, R.EOI, 0);
    assert.equal(apic.acknowledge(), 0x41);
  });

  test('disabled by software it takes no fixed interrupt, but NMI and INIT', () => {
    const { apic } = createApic({ enabled: false });
    apic.inbox.post(0x41, false);
    assert.equal(apic.acknowledge(), -1);
    apic.inbox.postNmi();
    assert.equal(apic.takeNmi(), true);
    assert.equal(apic.takeNmi(), false);
  });

  test('a vector below 16 is an error of the sender and of the receiver', () => {
    const { apic } = createApic();
    apic.inbox.post(5, false);
    write32(apic, R.ESR, 0);
    assert.equal(read32(apic, R.ESR), 1 << 6);
    write32(apic, R.ICR, 0x4005);
    write32(apic, R.ESR, 0);
    assert.equal(read32(apic, R.ESR), 1 << 5);
  });

  test('an ExtINT at LINT0 asks the PICs for the vector', () => {
    const { apic, setPic } = createApic();
    write32(apic, R.LINT0, 0x700);
    setPic(0x23);
    apic.inbox.setLint(0, true);
    assert.equal(apic.acknowledge(), 0x23);
    assert.equal(read32(apic, R.ISR + 0x10), 0);
    apic.inbox.setLint(0, false);
    assert.equal(apic.pending() & PENDING.INTERRUPT, PENDING.INTERRUPT);
  });

  test('an IPI goes out with destination and command', () => {
    const { apic, sent } = createApic();
    write32(apic, R.ICR_HIGH, 3 << 24);
    write32(apic, R.ICR, 0x40f1);
    assert.deepEqual(sent, ['3:40f1']);
    assert.equal(read32(apic, R.ICR), 0x40f1);
  });
});

describe('destinations of a local APIC', () => {
  test('physical: its id, and broadcast', () => {
    const { apic } = createApic({ id: 3 });
    assert.deepEqual(
      [3, 2, 0xff].map((d) => apic.inbox.accepts(d, false, false)),
      [true, false, true],
    );
    assert.equal(read32(apic, R.ID), (3 << 24) >>> 0);
  });

  test('logical, flat: any common bit', () => {
    const { apic } = createApic();
    write32(apic, R.DFR, 0xffff_ffff);
    write32(apic, R.LDR, 0x0400_0000);
    assert.deepEqual(
      [0x04, 0x06, 0x02].map((d) => apic.inbox.accepts(d, true, false)),
      [true, true, false],
    );
  });

  test('logical, cluster: the same cluster and a common bit', () => {
    const { apic } = createApic();
    write32(apic, R.DFR, 0x0fff_ffff);
    write32(apic, R.LDR, 0x2100_0000);
    assert.deepEqual(
      [0x21, 0x23, 0x22, 0x31].map((d) => apic.inbox.accepts(d, true, false)),
      [true, true, false, false],
    );
  });

  test('x2APIC: the logical id follows from the id', () => {
    const { apic, toX2apic } = createApic({ id: 0x12 });
    toX2apic();
    assert.equal(apic.readMsr(0x80d), true);
    assert.equal(apic.msrLow, (1 << 16) | (1 << 2));
    assert.equal(apic.inbox.accepts((1 << 16) | 4, true, true), true);
    assert.equal(apic.inbox.accepts(4, true, true), false);
  });
});

describe('the timer of a local APIC', () => {
  test('one-shot: expires once, after count times divisor nanoseconds', () => {
    const { apic, clock } = createApic();
    write32(apic, R.LVT_TIMER, 0xec);
    write32(apic, R.DIVIDE, 0x3); // 16
    write32(apic, R.INITIAL, 1000);
    assert.equal(apic.nextDeadlineNs(), 16_000);
    clock.pass(8000);
    assert.equal(read32(apic, R.CURRENT), 500);
    clock.pass(8000);
    apic.advance(clock.nowNs());
    assert.equal(apic.acknowledge(), 0xec);
    assert.equal(apic.nextDeadlineNs(), Infinity);
    assert.equal(read32(apic, R.CURRENT), 0);
  });

  test('periodic: expires again and again, and one interrupt stands for all that were missed', () => {
    const { apic, clock } = createApic();
    write32(apic, R.LVT_TIMER, 0xec | PERIODIC);
    write32(apic, R.DIVIDE, 0xb); // 1
    write32(apic, R.INITIAL, 1_000_000);
    clock.pass(5_500_000);
    apic.advance(clock.nowNs());
    assert.equal(apic.acknowledge(), 0xec);
    assert.equal(apic.nextDeadlineNs(), 6_000_000);
    write32(apic, R.EOI, 0);
    assert.equal(apic.acknowledge(), -1);
    write32(apic, R.INITIAL, 0);
    assert.equal(apic.nextDeadlineNs(), Infinity);
  });

  test('a period has a least length, which leaves the processor time; a single shot may be shorter', () => {
    const { apic, clock } = createApic();
    write32(apic, R.DIVIDE, 0xb);
    write32(apic, R.LVT_TIMER, 0xec);
    write32(apic, R.INITIAL, 10);
    assert.equal(apic.nextDeadlineNs(), 10);
    write32(apic, R.LVT_TIMER, 0xec | PERIODIC);
    write32(apic, R.INITIAL, 10);
    assert.equal(apic.nextDeadlineNs(), 200_000);
    clock.pass(100_000);
    assert.equal(read32(apic, R.CURRENT), 10);
    clock.pass(150_000);
    apic.advance(clock.nowNs());
    assert.equal(apic.acknowledge(), 0xec);
    assert.equal(apic.nextDeadlineNs(), 400_000);
  });

  test('a one-shot count that becomes periodic on its way has that length from its first expiry on', () => {
    const { apic, clock } = createApic();
    write32(apic, R.DIVIDE, 0xb);
    write32(apic, R.LVT_TIMER, 0xec);
    write32(apic, R.INITIAL, 10);
    write32(apic, R.LVT_TIMER, 0xec | PERIODIC);
    clock.pass(10);
    apic.advance(clock.nowNs());
    assert.equal(apic.nextDeadlineNs(), 200_010);
  });

  test('TSC deadline: at the time of the counter, at once when that has passed, disarmed by 0', () => {
    const { apic, clock } = createApic();
    write32(apic, R.LVT_TIMER, 0xec | TSC_DEADLINE);
    assert.equal(apic.writeMsr(0x6e0, 5000, 0), true);
    assert.equal(apic.nextDeadlineNs(), 5000);
    assert.equal(apic.readMsr(0x6e0), true);
    assert.equal(apic.msrLow, 5000);
    clock.pass(5000);
    apic.advance(clock.nowNs());
    assert.equal(apic.acknowledge(), 0xec);
    apic.readMsr(0x6e0);
    assert.equal(apic.msrLow, 0);
    write32(apic, R.EOI, 0);
    apic.writeMsr(0x6e0, 100, 0);
    assert.equal(apic.acknowledge(), 0xec);
    write32(apic, R.EOI, 0);
    apic.writeMsr(0x6e0, 90_000, 0);
    apic.writeMsr(0x6e0, 0, 0);
    assert.equal(apic.nextDeadlineNs(), Infinity);
  });

  test('a deadline in the far future neither overflows nor comes early', () => {
    const { apic } = createApic();
    write32(apic, R.LVT_TIMER, 0xec | TSC_DEADLINE);
    apic.writeMsr(0x6e0, -1, -1);
    assert.equal(apic.nextDeadlineNs(), Infinity);
    assert.equal(apic.acknowledge(), -1);
  });

  test('a masked timer gives no interrupt, and a deadline register without that mode nothing', () => {
    const { apic, clock } = createApic();
    write32(apic, R.LVT_TIMER, 0xec | MASKED);
    write32(apic, R.DIVIDE, 0xb);
    write32(apic, R.INITIAL, 100);
    clock.pass(200);
    apic.advance(clock.nowNs());
    assert.equal(apic.acknowledge(), -1);
    apic.writeMsr(0x6e0, 5, 0);
    assert.equal(apic.acknowledge(), -1);
  });
});

describe('registers of a local APIC', () => {
  test('all local vectors are masked while it is disabled by software', () => {
    const { apic } = createApic({ enabled: false });
    write32(apic, R.LVT_TIMER, 0xec);
    assert.equal(read32(apic, R.LVT_TIMER) & MASKED, MASKED);
  });

  test('a write of fewer than four bytes, or beside a register, changes nothing', () => {
    const { apic } = createApic();
    apic.write(R.TPR, Uint8Array.of(0x50));
    apic.write(R.TPR + 4, Uint8Array.of(0x50, 0, 0, 0));
    assert.equal(read32(apic, R.TPR), 0);
  });

  test('any offset and size may be read and written', () => {
    const { apic } = createApic();
    for (let offset = 0; offset < 0x1000; offset += 4) {
      for (const sizeBytes of [1, 2, 4, 8]) {
        apic.read(offset, new Uint8Array(sizeBytes));
        apic.write(offset, new Uint8Array(sizeBytes));
      }
    }
    assert.equal(read32(apic, R.ID), 0);
  });

  test('x2APIC: the page is gone, MSRs take its place, reserved ones and bits are #GP', () => {
    const { apic, toX2apic } = createApic();
    assert.equal(apic.readMsr(0x802), false);
    assert.equal(apic.pageAddress(), 0xfee0_0000);
    toX2apic();
    assert.equal(apic.pageAddress(), -1);
    assert.equal(apic.readMsr(0x802), true);
    assert.deepEqual(
      [apic.readMsr(0x801), apic.readMsr(0x80e), apic.readMsr(0x831), apic.readMsr(0x80b), apic.readMsr(0x83f)],
      [false, false, false, false, false],
    );
    assert.deepEqual(
      [
        apic.writeMsr(0x802, 1, 0),
        apic.writeMsr(0x80b, 1, 0),
        apic.writeMsr(0x808, 0x100, 0),
        apic.writeMsr(0x80f, 0x1ff, 1),
      ],
      [false, false, false, false],
    );
    assert.deepEqual(
      [apic.writeMsr(0x80b, 0, 0), apic.writeMsr(0x808, 0x20, 0), apic.writeMsr(0x80f, 0x1ff, 0)],
      [true, true, true],
    );
  });

  test('x2APIC: reserved bits are #GP, and only those; read-only bits may be written back', () => {
    const { apic, toX2apic } = createApic();
    toX2apic();
    for (const [index, allowed] of [
      [0x808, 0xff],
      [0x80b, 0],
      [0x80f, 0x13ff],
      [0x828, 0],
      [0x830, 0xc_dfff],
      [0x832, 0x7_10ff],
      [0x833, 0x1_17ff],
      [0x834, 0x1_17ff],
      [0x835, 0x1_f7ff],
      [0x836, 0x1_f7ff],
      [0x837, 0x1_10ff],
      [0x838, 0xffff_ffff],
      [0x83e, 0x0b],
      [0x83f, 0xff],
    ] as const) {
      for (let bit = 0; bit < 32; bit++) {
        const isAllowed = (allowed & (1 << bit)) !== 0;
        assert.equal(apic.writeMsr(index, 1 << bit, 0), isAllowed, `bit ${bit} of MSR 0x${index.toString(16)}`);
      }
      assert.equal(apic.writeMsr(index, 0, 1), index === 0x830);
    }
  });

  test('x2APIC: a write that is #GP changes nothing', () => {
    const { apic, sent, toX2apic } = createApic();
    toX2apic();
    assert.equal(apic.writeMsr(0x837, 0x1fe, 0), false);
    assert.equal(apic.writeMsr(0x830, 0x10_40f1, 7), false);
    assert.deepEqual([apic.readRegister(R.LVT_ERROR), apic.readMsr(0x830), sent], [MASKED, true, []]);
    assert.deepEqual([apic.msrLow, apic.msrHigh], [0, 0]);
  });

  test('x2APIC: the interrupt command is one 64-bit register, and a self-IPI another', () => {
    const { apic, sent, toX2apic } = createApic();
    toX2apic();
    assert.equal(apic.writeMsr(0x830, 0x40f1, 7), true);
    assert.deepEqual(sent, ['7:40f1']);
    apic.readMsr(0x830);
    assert.deepEqual([apic.msrLow, apic.msrHigh], [0x40f1, 7]);
    assert.equal(apic.writeMsr(0x83f, 0x55, 0), true);
    assert.equal(apic.acknowledge(), 0x55);
  });

  test('IA32_APIC_BASE: from x2APIC mode there is no way but through disabled', () => {
    const { apic, toX2apic } = createApic();
    toX2apic();
    assert.equal(apic.writeMsr(0x1b, 0xfee0_0900 | 0, 0), false);
    assert.equal(apic.writeMsr(0x1b, 0xfee0_0100 | 0, 0), true);
    assert.equal(apic.writeMsr(0x1b, 0xfee0_0500 | 0, 0), false);
    assert.equal(apic.writeMsr(0x1b, 0xfee0_0900 | 0, 0), true);
    apic.readMsr(0x1b);
    assert.equal(apic.msrLow >>> 0, 0xfee0_0900);
  });

  test('a sleeper is woken by what it waits for and by a kick', () => {
    const { apic } = createApic();
    assert.equal(apic.waitPending(PENDING.KICK | PENDING.INTERRUPT, 1), false);
    apic.inbox.kick();
    assert.equal(apic.waitPending(PENDING.KICK, 1000), true);
    assert.equal(apic.inbox.take(PENDING.KICK), true);
  });
});

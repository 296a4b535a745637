import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ManualClock, RecordedLine, readByte, writeByte } from '#hypervisor/software/testing.ts';
import { AcpiPm } from './acpi-pm.ts';
import { DebugConsole } from './debug-console.ts';
import { DebugExit } from './debug-exit.ts';
import { I8042 } from './i8042.ts';
import { PortSink } from './port-sink.ts';
import { ResetControl } from './reset-control.ts';

describe('the ACPI power management block', () => {
  function createPm() {
    const clock = new ManualClock();
    const interrupt = new RecordedLine();
    let powerOffs = 0;
    const pm = new AcpiPm(new Int32Array(AcpiPm.STATE_WORDS), { clock, interrupt, onPowerOff: () => powerOffs++ });
    const read16 = (offset: number): number => readByte(pm, offset) | (readByte(pm, offset + 1) << 8);
    const write16 = (offset: number, value: number): void => pm.write(offset, Uint8Array.of(value, value >> 8));
    return { pm, clock, interrupt, powerOffs: () => powerOffs, read16, write16 };
  }

  test('is in ACPI mode, and S5 powers off once SLP_EN is written', () => {
    const { powerOffs, read16, write16 } = createPm();
    assert.equal(read16(4) & 1, 1);
    write16(4, 5 << 10);
    assert.equal(powerOffs(), 0);
    write16(4, (5 << 10) | (1 << 13));
    assert.equal(powerOffs(), 1);
    assert.equal(read16(4) & (1 << 13), 0);
  });

  test('another sleep state wakes at once', () => {
    const { powerOffs, read16, write16 } = createPm();
    write16(4, (1 << 10) | (1 << 13));
    assert.deepEqual([powerOffs(), read16(0) & 0x8000], [0, 0x8000]);
  });

  test('the timer counts 3.579545 MHz', () => {
    const { pm, clock } = createPm();
    const ticks = (): number => {
      const data = new Uint8Array(4);
      pm.read(8, data);
      return new DataView(data.buffer).getUint32(0, true);
    };
    const before = ticks();
    clock.pass(1e9);
    assert.equal(ticks() - before, 3_579_545);
  });

  test("the change of the timer's highest bit is an event that interrupts", () => {
    const { pm, clock, interrupt, read16, write16 } = createPm();
    write16(2, 1);
    const deadlineNs = pm.nextDeadlineNs();
    assert.ok(deadlineNs > 0 && deadlineNs < Infinity);
    clock.timeNs = deadlineNs;
    pm.advance(deadlineNs);
    assert.deepEqual([interrupt.level, read16(0) & 1], [true, 1]);
    write16(0, 1);
    assert.deepEqual([interrupt.level, read16(0) & 1], [false, 0]);
  });

  test('the deadline of that event is the first nanosecond at which it has happened, for months', () => {
    const { pm, clock, interrupt, write16 } = createPm();
    write16(2, 1);
    for (let half = 1n; half < 10_000n; half++) {
      const deadlineNs = pm.nextDeadlineNs();
      assert.equal(BigInt(deadlineNs), (half * 2n ** 31n * 1_000_000_000n + 3_579_544n) / 3_579_545n);
      clock.timeNs = deadlineNs - 1;
      pm.advance(clock.timeNs);
      assert.equal(interrupt.level, false);
      clock.timeNs = deadlineNs;
      pm.advance(clock.timeNs);
      assert.equal(interrupt.level, true);
      write16(0, 1);
    }
  });

  test('the power button interrupts where it is enabled, and status bits clear by ones', () => {
    const { pm, interrupt, read16, write16 } = createPm();
    pm.pressPowerButton();
    assert.equal(interrupt.level, false);
    write16(2, 0x100);
    assert.equal(interrupt.level, true);
    write16(0, 0xfeff);
    assert.equal(read16(0) & 0x100, 0x100);
    write16(0, 0x100);
    assert.deepEqual([read16(0) & 0x100, interrupt.level], [0, false]);
  });

  test('the enable bit of the RTC event stays, as its driver expects', () => {
    const { read16, write16 } = createPm();
    write16(2, 0x400);
    assert.equal(read16(2), 0x400);
  });

  test('what lies beyond reads as ones and is lost when written', () => {
    const { pm } = createPm();
    assert.equal(readByte(pm, 12), 0xff);
    pm.write(10, new Uint8Array(8).fill(0xff));
  });
});

describe('resets', () => {
  test('port 0xcf9: the rise of bit 2 resets, its staying does not', () => {
    let resets = 0;
    const control = new ResetControl(new Int32Array(ResetControl.STATE_WORDS), () => resets++);
    writeByte(control, 0, 0x02);
    assert.deepEqual([resets, readByte(control, 0)], [0, 0x02]);
    writeByte(control, 0, 0x06);
    writeByte(control, 0, 0x06);
    assert.equal(resets, 1);
    writeByte(control, 0, 0xf9);
    assert.equal(readByte(control, 0), 0x08);
  });

  test('port 0x64: commands whose pulse reaches the reset line', () => {
    let resets = 0;
    const i8042 = new I8042(() => resets++);
    writeByte(i8042, 0x64, 0xfe);
    assert.equal(resets, 1);
    for (const command of [0xff, 0xfd, 0xae, 0x60, 0x20]) writeByte(i8042, 0x64, command);
    writeByte(i8042, 0x60, 0xfe);
    assert.equal(resets, 1);
    assert.equal(readByte(i8042, 0x64), 0xff);
  });
});

test('the debug console says that it is there and passes every byte on', () => {
  let text = '';
  const debug = new DebugConsole({
    write: (byte) => {
      text += String.fromCharCode(byte);
    },
  });
  debug.write(0, Buffer.from('ab'));
  assert.deepEqual([readByte(debug, 0), text], [0xe9, 'ab']);
});

test('the debug exit hands out the first byte of a write, and reads as zero', () => {
  const values: number[] = [];
  const exit = new DebugExit((value) => void values.push(value));
  assert.equal(readByte(exit, 0), 0);
  exit.write(0, Uint8Array.of(0x12, 0x34, 0x56, 0x78));
  exit.write(3, Uint8Array.of(0xff));
  assert.deepEqual(values, [0x12, 0xff]);
});

test('a sink takes everything and reads as ones', () => {
  const sink = new PortSink('post-code');
  writeByte(sink, 0, 0x12);
  assert.equal(readByte(sink, 0), 0xff);
});

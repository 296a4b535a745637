import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock, RecordedLine, readByte, writeByte } from '#hypervisor/software/testing.ts';
import { dayOfMonth, daysFromDate, monthOfDays, weekday, yearOfDays } from './calendar.ts';
import { Cmos } from './cmos.ts';

function createCmos() {
  const clock = new ManualClock();
  const interrupt = new RecordedLine();
  const options = { clock, interrupt, lowMemoryBytes: 0xd000_0000, highMemoryBytes: 2 ** 32 };
  const cmos = new Cmos(new Int32Array(Cmos.STATE_WORDS), options);
  const get = (index: number): number => {
    writeByte(cmos, 0, index);
    return readByte(cmos, 1);
  };
  const set = (index: number, value: number): void => {
    writeByte(cmos, 0, index);
    writeByte(cmos, 1, value);
  };
  /** Lets time pass with a look whenever one is due. */
  const pass = (ns: number): void => {
    const endNs = clock.timeNs + ns;
    while (cmos.nextDeadlineNs() <= endNs) {
      clock.pass(Math.max(1, Math.ceil(cmos.nextDeadlineNs() - clock.timeNs)));
      cmos.advance(clock.nowNs());
    }
    if (clock.timeNs < endNs) clock.pass(endNs - clock.timeNs);
    cmos.advance(clock.nowNs());
  };
  const time = (): number[] => [0x32, 9, 8, 7, 4, 2, 0].map(get);
  return { cmos, clock, interrupt, get, set, pass, time };
}

test('an alarm and an update that are due stay due by a clock that goes on between two looks', () => {
  const { cmos, clock, set, get } = createCmos();
  for (const enable of [0x20, 0x10]) {
    // Alarm at any second, hour and minute.
    for (const byte of [1, 3, 5]) set(byte, 0xff);
    set(0x0b, 0x02 | enable);
    clock.pass(1.5e9);
    const seenNs = clock.nowNs();
    clock.pass(300);
    assert.ok(cmos.nextDeadlineNs() <= seenNs);
    cmos.advance(clock.nowNs());
    assert.equal(get(0x0c) & 0x80, 0x80);
  }
});

describe('the real-time clock', () => {
  test("shows the host's time in BCD and 24 hours, and leaps into a new month", () => {
    const { time, pass } = createCmos();
    assert.deepEqual(time(), [0x20, 0x20, 0x01, 0x31, 0x23, 0x59, 0x58]);
    pass(2e9);
    assert.deepEqual(time(), [0x20, 0x20, 0x02, 0x01, 0x00, 0x00, 0x00]);
  });

  test('shows binary numbers and 12 hours when asked to', () => {
    const { set, time, get } = createCmos();
    set(0x0b, 0x04);
    assert.deepEqual(time(), [20, 20, 1, 31, 11 | 0x80, 59, 58]);
    assert.equal(get(6), 6); // a Friday
  });

  test('goes on from what the guest sets', () => {
    const { set, pass, time } = createCmos();
    set(0x0b, 0x82); // SET
    for (const [index, value] of [
      [0, 0x50],
      [2, 0x30],
      [4, 0x12],
      [7, 0x28],
      [8, 0x02],
      [9, 0x24],
      [0x32, 0x19],
    ] as const) {
      set(index, value);
    }
    pass(5e9);
    assert.deepEqual(time(), [0x19, 0x24, 0x02, 0x28, 0x12, 0x30, 0x50]);
    set(0x0b, 0x02);
    pass(9e9);
    assert.deepEqual(time(), [0x19, 0x24, 0x02, 0x28, 0x12, 0x30, 0x59]);
  });

  test('the time holds while the divider is in reset, and its first update comes half a second after the release', () => {
    for (const reset of [0x66, 0x76]) {
      const { set, get, pass, cmos } = createCmos();
      set(0x0b, 0x12); // the update interrupt
      pass(0.9e9);
      set(0x0a, reset);
      assert.equal(cmos.nextDeadlineNs(), Infinity);
      pass(5.3e9);
      assert.deepEqual([get(0), get(0x0c) & 0x90], [0x58, 0]);
      set(0x0a, 0x26);
      pass(0.49e9);
      assert.deepEqual([get(0), get(0x0c) & 0x90], [0x58, 0]);
      pass(0.01e9);
      assert.deepEqual([get(0), get(0x0c) & 0x90], [0x59, 0x90]);
    }
  });

  test('what is written during the reset of the divider is the time after it', () => {
    const { set, time, pass } = createCmos();
    set(0x0b, 0x82);
    set(0x0a, 0x76);
    set(0, 0x10);
    set(0x0b, 0x02);
    pass(3e9);
    set(2, 0x20);
    assert.deepEqual(time().slice(4), [0x23, 0x20, 0x10]);
    set(0x0a, 0x26);
    pass(0.5e9);
    assert.deepEqual(time().slice(4), [0x23, 0x20, 0x11]);
  });

  test('SET does not disturb the divider: the next update comes when it would have come', () => {
    const { set, get, pass } = createCmos();
    pass(0.2e9);
    set(0x0b, 0x82);
    set(0, 0x10);
    pass(3e9);
    set(0x0b, 0x02);
    pass(0.79e9);
    assert.equal(get(0), 0x10);
    pass(0.01e9);
    assert.equal(get(0), 0x11);
  });

  test('no periodic interrupt comes from a divider in reset', () => {
    const { set, cmos, interrupt, pass } = createCmos();
    set(0x0b, 0x42);
    set(0x0a, 0x66);
    assert.equal(cmos.nextDeadlineNs(), Infinity);
    pass(1e9);
    assert.equal(interrupt.level, false);
  });

  test('an update shows in register A before the second changes', () => {
    const { clock, get } = createCmos();
    assert.equal(get(0x0a) & 0x80, 0);
    clock.pass(999.5e6);
    assert.equal(get(0x0a) & 0x80, 0x80);
  });

  test('the update interrupt comes with each second, once its flags were read', () => {
    const { set, get, interrupt, pass } = createCmos();
    set(0x0b, 0x12);
    pass(1.1e9);
    assert.equal(interrupt.level, true);
    assert.equal(get(0x0c) & 0xb0, 0x90);
    assert.equal(interrupt.level, false);
    pass(1e9);
    assert.equal(interrupt.level, true);
  });

  test("the alarm comes at its time, don't-care bytes match any", () => {
    const { set, get, interrupt, pass } = createCmos();
    set(1, 0x05);
    set(3, 0xc0);
    set(5, 0xff);
    set(0x0b, 0x22);
    pass(6.5e9);
    assert.equal(interrupt.level, false);
    pass(1e9); // 00:00:05
    assert.equal(interrupt.level, true);
    assert.equal(get(0x0c) & 0xa0, 0xa0);
  });

  test('the periodic interrupt has the rate of register A', () => {
    const { set, get, interrupt, pass } = createCmos();
    set(0x0a, 0x26); // 1024 Hz
    set(0x0b, 0x42);
    for (let i = 0; i < 100; i++) {
      pass(1e9 / 1024);
      get(0x0c);
    }
    assert.ok(Math.abs(interrupt.rises - 100) <= 1, `${interrupt.rises} interrupts`);
  });

  test('its memory keeps what is written; the memory size is in it', () => {
    const { set, get } = createCmos();
    set(0x40, 0xa5);
    assert.equal(get(0x40), 0xa5);
    assert.equal(get(0x34) | (get(0x35) << 8), (0xd000_0000 - (16 << 20)) / 65536);
    assert.equal(get(0x5b) | (get(0x5c) << 8) | (get(0x5d) << 16), 65536);
    assert.equal(get(0x0d), 0x80);
  });

  test('whatever the guest writes, the clock goes on and its deadline is a time', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(255), fc.nat(255)), { maxLength: 60 }), (writes) => {
        const { cmos, set, pass, time } = createCmos();
        for (const [index, value] of writes) set(index, value);
        assert.ok(!Number.isNaN(cmos.nextDeadlineNs()));
        set(0x0a, 0x26);
        set(0x0b, 0x02);
        pass(2e9);
        for (const byte of time()) assert.ok(byte >= 0 && byte <= 255);
      }),
    );
  });
});

test('the calendar agrees with Date for thousands of years', () => {
  fc.assert(
    fc.property(fc.integer({ min: -700_000, max: 3_000_000 }), (days) => {
      const date = new Date(days * 86_400_000);
      assert.deepEqual(
        [yearOfDays(days), monthOfDays(days), dayOfMonth(days), weekday(days)],
        [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCDay()],
      );
      assert.equal(daysFromDate(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate()), days);
    }),
  );
});

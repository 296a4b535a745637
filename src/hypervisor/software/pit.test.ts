import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PIT_FREQUENCY_HZ, Pit } from './pit.ts';
import { ManualClock, RecordedLine, readByte, writeByte } from './testing.ts';

const TICK_NS = 1e9 / PIT_FREQUENCY_HZ;

function createPit() {
  const clock = new ManualClock();
  const line = new RecordedLine();
  const pit = new Pit(new Int32Array(Pit.STATE_WORDS), clock, line);
  /** Control word and count of a channel, low byte first. */
  const program = (channel: number, mode: number, count: number): void => {
    writeByte(pit.counters, 3, (channel << 6) | 0x30 | (mode << 1));
    writeByte(pit.counters, channel, count & 0xff);
    writeByte(pit.counters, channel, count >> 8);
  };
  const latched = (channel: number): number => {
    writeByte(pit.counters, 3, channel << 6);
    return readByte(pit.counters, channel) | (readByte(pit.counters, channel) << 8);
  };
  /** Lets ticks pass, with a look whenever one is due. */
  const ticks = (count: number): void => {
    const endNs = Math.round(clock.timeNs + count * TICK_NS);
    while (pit.nextDeadlineNs() <= endNs) {
      clock.timeNs = Math.max(clock.timeNs, pit.nextDeadlineNs());
      pit.advance(clock.timeNs);
    }
    clock.timeNs = endNs;
    pit.advance(endNs);
  };
  return { pit, clock, line, program, latched, ticks };
}

describe('the PIT', () => {
  test('mode 0 raises the line once, when the count has run out', () => {
    const { line, program, ticks } = createPit();
    program(0, 0, 1000);
    ticks(998);
    assert.equal(line.rises, 0);
    ticks(4);
    assert.equal(line.rises, 1);
    ticks(70_000);
    assert.equal(line.rises, 1);
  });

  test('mode 2 interrupts once in every period, on average exactly', () => {
    const { line, program, ticks } = createPit();
    program(0, 2, 11932); // 100 Hz
    const before = line.rises;
    ticks(11932 * 50 + 10);
    assert.ok(Math.abs(line.rises - before - 50) <= 1, `${line.rises - before} interrupts`);
  });

  test('an edge is due at its first nanosecond, however long the channel has run', () => {
    const { pit, clock, program } = createPit();
    const hz = BigInt(PIT_FREQUENCY_HZ);
    const count = 11932n;
    program(0, 2, Number(count));
    for (let day = 1; day <= 100; day++) {
      clock.timeNs = day * 86_400e9;
      pit.advance(clock.timeNs);
      // The interrupt that was late may push the one after it back.
      clock.timeNs = pit.nextDeadlineNs();
      pit.advance(clock.timeNs);
      const edge = (BigInt(clock.timeNs) * hz) / 1_000_000_000n / count + 1n;
      assert.equal(BigInt(pit.nextDeadlineNs()), (edge * count * 1_000_000_000n + hz - 1n) / hz);
    }
  });

  test('mode 3 interrupts once in every period too', () => {
    const { line, program, ticks } = createPit();
    program(0, 3, 11932);
    const before = line.rises;
    ticks(11932 * 50 + 10);
    assert.ok(Math.abs(line.rises - before - 50) <= 1, `${line.rises - before} interrupts`);
  });

  test('a count of 0 is 65536', () => {
    const { program, latched, ticks } = createPit();
    program(0, 2, 0);
    ticks(100);
    assert.ok(Math.abs(latched(0) - (65536 - 100)) <= 1);
  });

  test('the latch holds the count while it is read, low byte first', () => {
    const { pit, program, ticks } = createPit();
    program(0, 2, 0x5000);
    ticks(0x1000);
    writeByte(pit.counters, 3, 0);
    ticks(0x800);
    const low = readByte(pit.counters, 0);
    ticks(0x800);
    const value = low | (readByte(pit.counters, 0) << 8);
    assert.ok(Math.abs(value - 0x4000) <= 1, value.toString(16));
  });

  test('single-byte access reads and writes that byte', () => {
    const { pit, ticks } = createPit();
    writeByte(pit.counters, 3, 0x24); // channel 0, high byte only, mode 2
    writeByte(pit.counters, 0, 0x40);
    ticks(0x1000);
    assert.ok(Math.abs(readByte(pit.counters, 0) - 0x30) <= 1);
  });

  test('the count of BCD goes in decimal digits', () => {
    const { pit, ticks } = createPit();
    writeByte(pit.counters, 3, 0x35);
    writeByte(pit.counters, 0, 0x00);
    writeByte(pit.counters, 0, 0x20); // 2000
    ticks(500);
    writeByte(pit.counters, 3, 0x00);
    const value = readByte(pit.counters, 0) | (readByte(pit.counters, 0) << 8);
    assert.ok(value === 0x1500 || value === 0x1501 || value === 0x1499, value.toString(16));
  });

  test('read-back gives the status with output, mode and access', () => {
    const { pit, program, ticks } = createPit();
    program(0, 3, 1000);
    ticks(10);
    writeByte(pit.counters, 3, 0xe2); // status of channel 0
    const status = readByte(pit.counters, 0);
    assert.equal(status & 0x3f, 0x36);
    assert.equal(status & 0x80, 0x80);
  });

  test('channel 2 counts while its gate is open and shows its output at port 0x61', () => {
    const { pit, program, latched, ticks } = createPit();
    writeByte(pit.systemControl, 0, 0);
    program(2, 0, 1000);
    ticks(100);
    const frozen = latched(2);
    ticks(100);
    assert.equal(latched(2), frozen);
    assert.equal(readByte(pit.systemControl, 0) & 0x20, 0);
    writeByte(pit.systemControl, 0, 1);
    ticks(1100);
    assert.equal(readByte(pit.systemControl, 0) & 0x20, 0x20);
    assert.equal(readByte(pit.systemControl, 0) & 0x0f, 1);
  });

  test('the refresh bit of port 0x61 toggles with time', () => {
    const { pit, clock } = createPit();
    const seen = new Set<number>();
    for (let i = 0; i < 10; i++) {
      clock.pass(7000);
      seen.add(readByte(pit.systemControl, 0) & 0x10);
    }
    assert.equal(seen.size, 2);
  });

  test('the channel of the interrupt is silent until it is programmed', () => {
    const { pit, line, clock } = createPit();
    assert.equal(pit.nextDeadlineNs(), Infinity);
    clock.pass(1e9);
    pit.advance(clock.timeNs);
    assert.equal(line.rises, 0);
  });

  test('a loop that was late does not get a storm', () => {
    const { pit, clock, line, program } = createPit();
    program(0, 2, 1193);
    clock.pass(60e9);
    for (let i = 0; i < 1000; i++) {
      clock.pass(1000);
      pit.advance(clock.timeNs);
    }
    assert.ok(line.rises < 60, `${line.rises} interrupts in a millisecond`);
  });
});

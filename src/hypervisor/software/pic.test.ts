import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PicPair } from './pic.ts';
import { RecordedLine, readByte, writeByte } from './testing.ts';

/** A pair initialised as the PC's: vectors 0x20 and 0x28, everything unmasked. */
function createPair(options: { icw4?: number } = {}): { pic: PicPair; output: RecordedLine } {
  const output = new RecordedLine();
  const pic = new PicPair(new Int32Array(PicPair.STATE_WORDS), output);
  const { icw4 = 1 } = options;
  for (const [chip, vector, cascade] of [
    [pic.master, 0x20, 4],
    [pic.slave, 0x28, 2],
  ] as const) {
    writeByte(chip, 0, 0x11);
    writeByte(chip, 1, vector);
    writeByte(chip, 1, cascade);
    writeByte(chip, 1, icw4);
    writeByte(chip, 1, 0);
  }
  return { pic, output };
}

const EOI = 0x20;
const irr = (chip: PicPair['master']): number => {
  writeByte(chip, 0, 0x0a);
  return readByte(chip, 0);
};
const isr = (chip: PicPair['master']): number => {
  writeByte(chip, 0, 0x0b);
  return readByte(chip, 0);
};

describe('the PIC pair', () => {
  test('gives nothing before it is initialised', () => {
    const output = new RecordedLine();
    const pic = new PicPair(new Int32Array(PicPair.STATE_WORDS), output);
    pic.setLine(1, true);
    assert.equal(output.level, false);
  });

  test('an edge is latched, acknowledged with its vector, and in service until its EOI', () => {
    const { pic, output } = createPair();
    pic.setLine(3, true);
    assert.equal(output.level, true);
    assert.equal(irr(pic.master), 0x08);
    assert.equal(pic.acknowledge(), 0x23);
    assert.deepEqual([irr(pic.master), isr(pic.master), output.level], [0, 0x08, false]);
    writeByte(pic.master, 0, EOI);
    assert.deepEqual([isr(pic.master), output.level], [0, false]);
    // The line is still high: only the next rise counts.
    pic.setLine(3, false);
    pic.setLine(3, true);
    assert.equal(output.level, true);
  });

  test('lower inputs have higher priority, and interrupt the service of others', () => {
    const { pic, output } = createPair();
    pic.setLine(5, true);
    pic.setLine(4, true);
    assert.equal(pic.acknowledge(), 0x24);
    assert.equal(output.level, false);
    pic.setLine(1, true);
    assert.equal(pic.acknowledge(), 0x21);
    writeByte(pic.master, 0, EOI);
    assert.equal(isr(pic.master), 0x10);
    writeByte(pic.master, 0, EOI);
    assert.equal(pic.acknowledge(), 0x25);
  });

  test('the slave is reached through input 2, and both need an EOI', () => {
    const { pic, output } = createPair();
    pic.setLine(12, true);
    assert.equal(irr(pic.master), 0x04);
    assert.equal(pic.acknowledge(), 0x2c);
    assert.deepEqual([isr(pic.master), isr(pic.slave)], [0x04, 0x10]);
    pic.setLine(13, true);
    assert.equal(output.level, false);
    writeByte(pic.slave, 0, EOI);
    writeByte(pic.master, 0, EOI);
    assert.equal(pic.acknowledge(), 0x2d);
  });

  test('a masked input waits', () => {
    const { pic, output } = createPair();
    writeByte(pic.master, 1, 0x08);
    pic.setLine(3, true);
    assert.deepEqual([output.level, irr(pic.master), readByte(pic.master, 1)], [false, 0x08, 0x08]);
    writeByte(pic.master, 1, 0);
    assert.equal(output.level, true);
  });

  test('an edge stays latched when the line falls again', () => {
    const { pic } = createPair();
    pic.setLine(4, true);
    pic.setLine(4, false);
    assert.equal(pic.acknowledge(), 0x24);
  });

  test('a level that goes away before its acknowledgement gives the spurious vector, and nothing is in service', () => {
    const { pic } = createPair();
    writeByte(pic.edgeLevelControl, 0, 0x20);
    pic.setLine(5, true);
    pic.setLine(5, false);
    assert.equal(pic.acknowledge(), 0x27);
    assert.equal(isr(pic.master), 0);
  });

  test('a level input asks as long as it is asserted', () => {
    const { pic, output } = createPair();
    writeByte(pic.edgeLevelControl, 0, 0x20);
    assert.equal(readByte(pic.edgeLevelControl, 0), 0x20);
    pic.setLine(5, true);
    assert.equal(pic.acknowledge(), 0x25);
    writeByte(pic.master, 0, EOI);
    assert.equal(output.level, true);
    assert.equal(pic.acknowledge(), 0x25);
    pic.setLine(5, false);
    writeByte(pic.master, 0, EOI);
    assert.equal(output.level, false);
  });

  test('timer, keyboard, cascade, RTC and coprocessor stay edge-triggered', () => {
    const { pic } = createPair();
    writeByte(pic.edgeLevelControl, 0, 0xff);
    writeByte(pic.edgeLevelControl, 1, 0xff);
    assert.deepEqual([readByte(pic.edgeLevelControl, 0), readByte(pic.edgeLevelControl, 1)], [0xf8, 0xde]);
  });

  test('automatic EOI leaves nothing in service', () => {
    const { pic } = createPair({ icw4: 3 });
    pic.setLine(3, true);
    assert.equal(pic.acknowledge(), 0x23);
    assert.equal(isr(pic.master), 0);
  });

  test('special fully nested mode: the slave interrupts its own service, lower inputs of the master do not', () => {
    const { pic, output } = createPair({ icw4: 0x11 });
    pic.setLine(12, true);
    assert.equal(pic.acknowledge(), 0x2c);
    pic.setLine(3, true);
    pic.setLine(13, true);
    assert.equal(output.level, false);
    pic.setLine(9, true);
    assert.equal(pic.acknowledge(), 0x29);
    assert.deepEqual([isr(pic.slave), isr(pic.master), output.level], [0x12, 0x04, false]);
    // The service routine ends the slave's, and the master's only once the slave has no other.
    writeByte(pic.slave, 0, EOI);
    assert.deepEqual([isr(pic.slave), output.level], [0x10, false]);
    writeByte(pic.slave, 0, EOI);
    assert.equal(pic.acknowledge(), 0x2d);
    writeByte(pic.slave, 0, EOI);
    assert.deepEqual([isr(pic.slave), output.level], [0, false]);
    writeByte(pic.master, 0, EOI);
    assert.equal(pic.acknowledge(), 0x23);
  });

  test('a specific EOI ends the one that it names', () => {
    const { pic } = createPair();
    pic.setLine(5, true);
    pic.acknowledge();
    pic.setLine(1, true);
    pic.acknowledge();
    writeByte(pic.master, 0, 0x65);
    assert.equal(isr(pic.master), 0x02);
  });

  test('rotation makes the input that was served the lowest', () => {
    const { pic } = createPair();
    pic.setLine(3, true);
    pic.acknowledge();
    writeByte(pic.master, 0, 0xa0); // rotate on non-specific EOI
    pic.setLine(3, false);
    pic.setLine(3, true);
    pic.setLine(5, true);
    assert.equal(pic.acknowledge(), 0x25);
  });

  test('set priority chooses the lowest input', () => {
    const { pic } = createPair();
    writeByte(pic.master, 0, 0xc4); // 4 is the lowest, 5 the highest
    pic.setLine(0, true);
    pic.setLine(6, true);
    assert.equal(pic.acknowledge(), 0x26);
  });

  test('special mask mode lets lower priorities through while one is in service and masked', () => {
    const { pic, output } = createPair();
    pic.setLine(1, true);
    pic.acknowledge();
    pic.setLine(5, true);
    assert.equal(output.level, false);
    writeByte(pic.master, 0, 0x68);
    writeByte(pic.master, 1, 0x02);
    assert.equal(output.level, true);
    assert.equal(pic.acknowledge(), 0x25);
  });

  test('a poll acknowledges and tells the input', () => {
    const { pic } = createPair();
    pic.setLine(6, true);
    writeByte(pic.master, 0, 0x0c);
    assert.equal(readByte(pic.master, 0), 0x86);
    assert.equal(isr(pic.master), 0x40);
    writeByte(pic.master, 0, 0x0c);
    assert.equal(readByte(pic.master, 0) & 0x80, 0);
  });

  test('an initialisation clears mask, service and requests', () => {
    const { pic, output } = createPair();
    writeByte(pic.master, 1, 0xff);
    pic.setLine(3, true);
    writeByte(pic.master, 0, 0x11);
    assert.deepEqual([irr(pic.master), output.level], [0, false]);
    assert.equal(readByte(pic.master, 1), 0);
  });
});

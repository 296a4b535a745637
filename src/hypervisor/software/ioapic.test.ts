import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IoApic } from './ioapic.ts';
import { read32, write32 } from './testing.ts';

function createIoApic(options: { accepts?: boolean } = {}) {
  const sent: string[] = [];
  const { accepts = true } = options;
  const ioApic = new IoApic(new Int32Array(IoApic.STATE_WORDS), {
    deliver: (destination, command) => {
      sent.push(`${destination}:${(command & ~ASSERT).toString(16)}`);
      return accepts;
    },
  });
  const register = (index: number): number => {
    write32(ioApic, 0, index);
    return read32(ioApic, 0x10);
  };
  const setRegister = (index: number, value: number): void => {
    write32(ioApic, 0, index);
    write32(ioApic, 0x10, value);
  };
  /** Programs a pin: low half, destination. */
  const program = (pin: number, low: number, destination = 0): void => {
    setRegister(0x11 + 2 * pin, destination << 24);
    setRegister(0x10 + 2 * pin, low);
  };
  return { ioApic, sent, register, setRegister, program };
}

/** Every message has it. */
const ASSERT = 1 << 14;
const MASKED = 1 << 16;
const LEVEL = 1 << 15;
const REMOTE_IRR = 1 << 14;

describe('the I/O APIC', () => {
  test('begins with all pins masked, and says how many there are', () => {
    const { register } = createIoApic();
    assert.equal((register(1) >> 16) & 0xff, 23);
    for (let pin = 0; pin < 24; pin++) assert.equal(register(0x10 + 2 * pin), MASKED);
  });

  test('its id can be written, in bits 27 to 24', () => {
    const { register, setRegister } = createIoApic();
    setRegister(0, 0xffff_ffff);
    assert.equal(register(0), 0x0f00_0000);
    setRegister(1, 0);
    assert.notEqual(register(1), 0);
  });

  test('a rise of an edge pin sends the message once', () => {
    const { ioApic, sent, program } = createIoApic();
    program(4, 0x31, 2);
    ioApic.setLine(4, true);
    ioApic.setLine(4, true);
    assert.deepEqual(sent, ['2:31']);
    ioApic.setLine(4, false);
    ioApic.setLine(4, true);
    assert.equal(sent.length, 2);
  });

  test('delivery mode and destination mode go with the message', () => {
    const { ioApic, sent, program } = createIoApic();
    program(5, 0x0940 | 0x100, 0xff); // lowest priority, logical
    ioApic.setLine(5, true);
    assert.equal(sent.length, 1);
    assert.match(sent[0] as string, /^255:/);
    const command = Number.parseInt((sent[0] as string).split(':')[1] as string, 16);
    assert.deepEqual([command & 0xff, command & 0x700, command & 0x800], [0x40, 0x100, 0x800]);
  });

  test('a masked pin sends nothing; an edge that comes meanwhile is lost', () => {
    const { ioApic, sent, program } = createIoApic();
    program(4, 0x31 | MASKED);
    ioApic.setLine(4, true);
    program(4, 0x31);
    assert.deepEqual(sent, []);
  });

  test('a level pin sends once, and again after the EOI while it is asserted', () => {
    const { ioApic, sent, register, program } = createIoApic();
    program(9, 0x39 | LEVEL);
    ioApic.setLine(9, true);
    assert.equal(sent.length, 1);
    assert.equal(register(0x10 + 18) & REMOTE_IRR, REMOTE_IRR);
    ioApic.setLine(9, false);
    ioApic.setLine(9, true);
    assert.equal(sent.length, 1);
    ioApic.endOfInterrupt(0x39);
    assert.equal(sent.length, 2);
    ioApic.setLine(9, false);
    ioApic.endOfInterrupt(0x39);
    assert.equal(sent.length, 2);
    assert.equal(register(0x10 + 18) & REMOTE_IRR, 0);
  });

  test('a level that nobody accepts has no remote IRR, and is offered again', () => {
    const { ioApic, sent, register, program } = createIoApic({ accepts: false });
    program(9, 0x39 | LEVEL);
    ioApic.setLine(9, true);
    assert.deepEqual([sent.length, register(0x10 + 18) & REMOTE_IRR], [1, 0]);
    ioApic.retry();
    assert.deepEqual([sent.length, register(0x10 + 18) & REMOTE_IRR], [2, 0]);
    ioApic.setLine(9, false);
    ioApic.retry();
    assert.equal(sent.length, 2);
  });

  test('a level pin that is asserted when it is unmasked sends', () => {
    const { ioApic, sent, program } = createIoApic();
    program(9, 0x39 | LEVEL | MASKED);
    ioApic.setLine(9, true);
    assert.equal(sent.length, 0);
    program(9, 0x39 | LEVEL);
    assert.equal(sent.length, 1);
  });

  test('the EOI register ends a level interrupt', () => {
    const { ioApic, sent, register, program } = createIoApic();
    program(9, 0x39 | LEVEL);
    ioApic.setLine(9, true);
    ioApic.setLine(9, false);
    write32(ioApic, 0x40, 0x39);
    assert.equal(register(0x10 + 18) & REMOTE_IRR, 0);
    assert.equal(sent.length, 1);
  });

  test('status bits of an entry cannot be written', () => {
    const { register, setRegister } = createIoApic();
    setRegister(0x10, MASKED | (1 << 12) | REMOTE_IRR | LEVEL);
    assert.equal(register(0x10) & ((1 << 12) | REMOTE_IRR), 0);
  });

  test('accesses of other sizes and places neither throw nor change a pin', () => {
    const { ioApic, register } = createIoApic();
    for (const offset of [0, 1, 0x10, 0x11, 0x20, 0x44, 0xff]) {
      for (const sizeBytes of [1, 2, 4, 8]) {
        ioApic.read(offset, new Uint8Array(sizeBytes));
        if (offset !== 0x10) ioApic.write(offset, new Uint8Array(sizeBytes).fill(0x7f));
      }
    }
    for (let pin = 0; pin < 24; pin++) assert.equal(register(0x10 + 2 * pin), MASKED);
  });
});

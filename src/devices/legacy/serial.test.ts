import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RecordedLine, readByte, writeByte } from '#hypervisor/software/testing.ts';
import { Serial } from './serial.ts';

const R = { DATA: 0, IER: 1, IIR: 2, FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7 } as const;
const IIR = { NONE: 1, LINE_STATUS: 6, DATA: 4, TIMEOUT: 0xc, THR_EMPTY: 2, MODEM: 0 } as const;

function createSerial() {
  const interrupt = new RecordedLine();
  let output = '';
  let spaces = 0;
  const sink = {
    isFull: false,
    write: (byte: number) => {
      output += String.fromCharCode(byte);
    },
  };
  const serial = new Serial(new Int32Array(Serial.STATE_WORDS), {
    name: 'serial0',
    interrupt,
    output: sink,
    onInputSpace: () => spaces++,
  });
  const get = (register: number): number => readByte(serial, register);
  const set = (register: number, value: number): void => writeByte(serial, register, value);
  /** A driver that can receive: FIFOs with a trigger level of 14, RTS and DTR, the receive interrupt. */
  const start = (fcr = 0xc1): void => {
    set(R.FCR, fcr);
    set(R.MCR, 0x0b);
    set(R.IER, 0x01);
  };
  return { serial, sink, interrupt, output: () => output, spaces: () => spaces, get, set, start };
}

const send = (serial: Serial, text: string): number => serial.enqueueInput(Buffer.from(text, 'latin1'));

describe('a serial port', () => {
  test('after reset: empty transmitter, no interrupt, a peer that is ready', () => {
    const { get, interrupt } = createSerial();
    assert.deepEqual([get(R.LSR), get(R.IIR), get(R.IER), get(R.LCR), get(R.MCR)], [0x60, IIR.NONE, 0, 0, 0]);
    assert.equal(get(R.MSR) & 0xb0, 0xb0);
    assert.equal(interrupt.level, false);
  });

  test('what is written comes out, in order', () => {
    const { set, get, output } = createSerial();
    for (const byte of Buffer.from('hello')) set(R.DATA, byte);
    assert.deepEqual([output(), get(R.LSR)], ['hello', 0x60]);
  });

  test('while the output is full the transmitter is not empty, and interrupts when there is room', () => {
    const { serial, sink, set, get, interrupt, output } = createSerial();
    sink.isFull = true;
    set(R.IER, 0x02);
    assert.deepEqual([get(R.LSR), get(R.IIR), interrupt.level], [0, IIR.NONE, false]);
    set(R.DATA, 0x41);
    assert.deepEqual([output(), get(R.LSR), interrupt.level], ['A', 0, false]);
    sink.isFull = false;
    serial.resumeOutput();
    assert.deepEqual([get(R.LSR), interrupt.level, get(R.IIR), interrupt.level], [0x60, true, IIR.THR_EMPTY, false]);
  });

  test('in loopback a full output holds nothing up', () => {
    const { sink, set, get } = createSerial();
    sink.isFull = true;
    set(R.MCR, 0x10);
    set(R.DATA, 0x41);
    assert.deepEqual([get(R.LSR), get(R.DATA)], [0x61, 0x41]);
  });

  test('the divisor latch hides data and interrupt registers', () => {
    const { set, get, output } = createSerial();
    set(R.IER, 0x05);
    set(R.LCR, 0x83);
    set(R.DATA, 0x01);
    set(R.IER, 0x02);
    assert.deepEqual([get(R.DATA), get(R.IER), output()], [1, 2, '']);
    set(R.LCR, 0x03);
    assert.deepEqual([get(R.IER), get(R.LCR)], [0x05, 0x03]);
  });

  test('the scratch register holds a byte, and reserved bits read as 0', () => {
    const { set, get } = createSerial();
    set(R.SCR, 0xa5);
    set(R.IER, 0xff);
    set(R.MCR, 0xff);
    assert.deepEqual([get(R.SCR), get(R.IER), get(R.MCR)], [0xa5, 0x0f, 0x1f]);
  });

  test('enabling the THR-empty interrupt raises it; reading IIR clears it, a byte brings it back', () => {
    const { set, get, interrupt } = createSerial();
    set(R.IER, 0x02);
    assert.equal(interrupt.level, true);
    assert.equal(get(R.IIR), IIR.THR_EMPTY);
    assert.deepEqual([interrupt.level, get(R.IIR)], [false, IIR.NONE]);
    set(R.DATA, 0x41);
    assert.equal(interrupt.level, true);
    assert.equal(get(R.IIR), IIR.THR_EMPTY);
  });

  test('each byte that is sent gives an edge, also when nobody looked at the last', () => {
    const { set, interrupt } = createSerial();
    set(R.IER, 0x02);
    set(R.DATA, 0x41);
    set(R.DATA, 0x42);
    assert.equal(interrupt.rises, 3);
  });

  test('takes no input before the guest can receive, and says when it can', () => {
    const { serial, spaces, start } = createSerial();
    assert.deepEqual([serial.inputSpace(), send(serial, 'x')], [0, 0]);
    start();
    assert.deepEqual([serial.inputSpace(), spaces()], [16, 1]);
  });

  test('a guest that polls the line status gets input too', () => {
    const { serial, get, spaces } = createSerial();
    for (let i = 0; i < 16; i++) get(R.LSR);
    assert.deepEqual([serial.inputSpace(), spaces()], [1, 1]);
    assert.equal(send(serial, 'ab'), 1);
    assert.deepEqual([get(R.LSR) & 1, get(R.DATA), get(R.LSR) & 1], [1, 0x61, 0]);
  });

  test('a guest that reads other registers in between does not poll', () => {
    const { serial, get, spaces } = createSerial();
    for (const other of [R.DATA, R.IER, R.IIR, R.LCR, R.MCR, R.MSR, R.SCR]) {
      for (let i = 0; i < 15; i++) get(R.LSR);
      get(other);
    }
    for (let i = 0; i < 15; i++) get(R.LSR);
    assert.deepEqual([serial.inputSpace(), spaces()], [0, 0]);
    get(R.LSR);
    assert.deepEqual([serial.inputSpace(), spaces()], [1, 1]);
  });

  test('input is received in order, no more than fits, and room is announced when it was taken', () => {
    const { serial, get, start, spaces } = createSerial();
    start();
    assert.equal(send(serial, '0123456789abcdefXYZ'), 16);
    assert.equal(serial.inputSpace(), 0);
    const before = spaces();
    const read = Array.from({ length: 16 }, () => String.fromCharCode(get(R.DATA))).join('');
    assert.equal(read, '0123456789abcdef');
    assert.ok(spaces() > before);
    assert.equal(get(R.DATA), 0);
  });

  test('below the trigger level the interrupt is the timeout, from it on the data interrupt', () => {
    const { serial, get, interrupt, start } = createSerial();
    start(0x81); // 8 bytes
    send(serial, 'abc');
    assert.deepEqual([interrupt.level, get(R.IIR) & 0x0f], [true, IIR.TIMEOUT]);
    send(serial, 'defgh');
    assert.equal(get(R.IIR) & 0x0f, IIR.DATA);
    for (let i = 0; i < 8; i++) get(R.DATA);
    assert.deepEqual([interrupt.level, get(R.IIR) & 0x0f], [false, IIR.NONE]);
  });

  test('without FIFOs there is room for one byte', () => {
    const { serial, get, set } = createSerial();
    set(R.MCR, 0x0b);
    set(R.IER, 0x01);
    assert.equal(send(serial, 'ab'), 1);
    assert.equal(get(R.IIR), IIR.DATA);
    assert.equal(get(R.DATA), 0x61);
  });

  test('IIR shows the FIFOs while they are on, and clearing the receiver empties it', () => {
    const { serial, get, set, start } = createSerial();
    start();
    assert.equal(get(R.IIR) & 0xc0, 0xc0);
    send(serial, 'abc');
    set(R.FCR, 0xc3);
    assert.equal(get(R.LSR) & 1, 0);
    set(R.FCR, 0);
    assert.equal(get(R.IIR) & 0xc0, 0);
  });

  test('of several interrupts the one of the highest priority shows', () => {
    const { serial, get, set, start } = createSerial();
    start();
    set(R.IER, 0x0f);
    send(serial, 'a');
    assert.equal(get(R.IIR) & 0x0f, IIR.TIMEOUT);
    get(R.DATA);
    assert.equal(get(R.IIR) & 0x0f, IIR.THR_EMPTY);
  });

  test('loopback: bytes come back, modem outputs drive modem inputs', () => {
    const { serial, get, set, output } = createSerial();
    set(R.MCR, 0x10);
    assert.equal(get(R.MSR) & 0xf0, 0);
    set(R.MCR, 0x1a);
    assert.equal(get(R.MSR) & 0xf0, 0x90); // RTS → CTS, OUT2 → DCD
    set(R.DATA, 0x5a);
    assert.deepEqual([get(R.LSR) & 1, get(R.DATA), output(), serial.inputSpace()], [1, 0x5a, '', 0]);
  });

  test('loopback: more than fits is an overrun, which LSR tells once', () => {
    const { get, set } = createSerial();
    set(R.MCR, 0x10);
    set(R.DATA, 1);
    set(R.DATA, 2);
    assert.equal(get(R.LSR) & 2, 2);
    assert.equal(get(R.LSR) & 2, 0);
    assert.equal(get(R.DATA), 2);
  });

  test('loopback: a break is one zero byte with break and framing error, which LSR tells once', () => {
    const { get, set, interrupt, output } = createSerial();
    set(R.IER, 0x04);
    set(R.MCR, 0x10);
    set(R.LCR, 0x43);
    assert.deepEqual([interrupt.level, get(R.IIR)], [true, IIR.LINE_STATUS]);
    assert.deepEqual([get(R.LSR), get(R.LSR), interrupt.level], [0x79, 0x61, false]);
    set(R.DATA, 0x5a); // lost in the break
    assert.deepEqual([get(R.DATA), get(R.LSR)], [0, 0x60]);
    set(R.LCR, 0x03);
    set(R.DATA, 0x5a);
    assert.deepEqual([get(R.LSR), get(R.DATA), output()], [0x61, 0x5a, '']);
  });

  test('loopback: with FIFOs the errors of a break show when its byte is next, and before that only that there are some', () => {
    const { get, set } = createSerial();
    set(R.FCR, 0x01);
    set(R.MCR, 0x10);
    set(R.DATA, 0x41);
    set(R.LCR, 0x43);
    assert.equal(get(R.LSR), 0xe1);
    assert.equal(get(R.DATA), 0x41);
    assert.deepEqual([get(R.LSR), get(R.LSR), get(R.DATA)], [0xf9, 0x61, 0]);
  });

  test('a break that was set before loopback is received there, one outside is not', () => {
    const { get, set } = createSerial();
    set(R.LCR, 0x43);
    assert.equal(get(R.LSR), 0x60);
    set(R.MCR, 0x10);
    assert.equal(get(R.LSR), 0x79);
  });

  test('changes of modem inputs show as deltas until MSR is read, and interrupt', () => {
    const { get, set, interrupt } = createSerial();
    get(R.MSR);
    set(R.IER, 0x08);
    set(R.MCR, 0x10); // loopback: all inputs fall
    assert.equal(interrupt.level, true);
    assert.equal(get(R.IIR) & 0x0f, IIR.MODEM);
    assert.notEqual(get(R.MSR) & 0x0f, 0);
    assert.equal(get(R.MSR) & 0x0f, 0);
    assert.equal(interrupt.level, false);
  });

  test('wide accesses reach one register a byte; beyond the last there is nothing', () => {
    const { serial } = createSerial();
    serial.write(7, Uint8Array.of(0x11, 0x22, 0x33, 0x44));
    const data = new Uint8Array(4);
    serial.read(6, data);
    assert.deepEqual([data[1], data[2], data[3]], [0x11, 0xff, 0xff]);
  });

  test('another object over the same state is the same port', () => {
    const state = new Int32Array(Serial.STATE_WORDS);
    const options = { name: 's', interrupt: new RecordedLine(), output: { write: () => {} } };
    writeByte(new Serial(state, options), R.SCR, 0x77);
    assert.equal(readByte(new Serial(state, options), R.SCR), 0x77);
  });
});

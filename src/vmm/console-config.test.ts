import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SerialConfig } from './config.ts';
import { consoleParameters, consolePorts, consoleProblems, isTextPort, serialConsoleOf } from './console-config.ts';

const serial: SerialConfig = { hardware: 'serial', num: 1, type: 'stdout', console: false, stdin: false };
const port = (num: number, more: Partial<SerialConfig> = {}): SerialConfig => ({
  ...serial,
  hardware: 'virtio-console',
  num,
  ...more,
});

describe('the ports of the virtio console', () => {
  test('come in the order of their numbers', () => {
    const given = [port(7), serial, port(2), port(16)];
    assert.deepEqual(
      consolePorts(given).map(({ num }) => num),
      [2, 7, 16],
    );
  });

  test('are for text unless they have a name alone', () => {
    const ports = [port(1), port(2, { name: 'a' }), port(3, { name: 'b', console: true })];
    assert.deepEqual(ports.map(isTextPort), [true, false, true]);
  });

  test('have problems with what belongs to other hardware, and with names', () => {
    const given = [
      port(1, { earlycon: true, name: 'two words' }),
      port(2, { name: 'a' }),
      port(3, { name: 'a' }),
      port(4, { name: '..' }),
      port(5, { name: 'x'.repeat(65) }),
      { ...serial, name: 'b', earlycon: true, jail: true },
      port(6, { jail: true }),
    ];
    const names = 'name: must be up to 64 letters, digits and . _ : -';
    assert.deepEqual(consoleProblems(given), [
      'hardware=virtio-console,num=1: earlycon=true needs hardware=serial',
      names,
      'name=a is given twice',
      names,
      names,
      'hardware=serial,num=1: name needs hardware=virtio-console',
      'hardware=virtio-console,num=6: jail=true needs hardware=serial',
      'earlycon=true is given to several ports; one can have it',
    ]);
    assert.deepEqual(consoleProblems([serial, port(1), port(2, { name: 'org.agent-0:x_1' })]), []);
  });
});

describe('the kernel is told', () => {
  test('nothing of a serial console, which the machine tells', () => {
    assert.deepEqual(consoleParameters([{ ...serial, console: true }, port(1)]), []);
  });

  test('which of the text ports is its console, by its place among them', () => {
    const given = [port(4, { console: true }), port(3), port(2, { name: 'a' }), port(1)];
    assert.deepEqual(consoleParameters(given), ['console=hvc2']);
  });

  test('where its early console is', () => {
    const given = [{ ...serial, num: 2, earlycon: true }, port(1, { console: true })];
    assert.deepEqual(consoleParameters(given), ['earlycon=uart8250,io,0x2f8', 'console=hvc0']);
  });
});

test('a panic is looked for at the serial console, else at the early one', () => {
  const early = { ...serial, num: 2, earlycon: true };
  const console = { ...serial, console: true };
  assert.equal(serialConsoleOf([early, console]), console);
  assert.equal(serialConsoleOf([early, port(1, { console: true })]), early);
  assert.equal(serialConsoleOf([serial, port(1, { console: true })]), undefined);
});

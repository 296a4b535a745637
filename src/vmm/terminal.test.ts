import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Terminal, type TerminalCalls } from './terminal.ts';
import { rawSettings } from './termios.ts';

const found = new Uint8Array(36).fill(0xff);

function fakeTerminal(overrides: Partial<TerminalCalls> = {}) {
  const events: string[] = [];
  const calls: TerminalCalls = {
    isTerminal: () => true,
    readSettings: () => found,
    writeSettings: (_fd, settings) =>
      void events.push(Buffer.compare(settings, rawSettings(found)) === 0 ? 'raw' : 'as found'),
    readSize: () => ({ columns: 80, rows: 25 }),
    startGuardian: () => {
      events.push('guardian');
      return { pid: 7, dismiss: () => void events.push('dismiss') };
    },
    stopSelf: () => void events.push('stop'),
    warn: (message) => void events.push(message),
    ...overrides,
  };
  return { events, terminal: Terminal.open(0, calls) };
}

function opened(overrides: Partial<TerminalCalls> = {}) {
  const { events, terminal } = fakeTerminal(overrides);
  assert.ok(terminal);
  return { events, terminal };
}

describe('Terminal', () => {
  test('is absent when the descriptor is no terminal', () => {
    assert.equal(fakeTerminal({ isTerminal: () => false }).terminal, undefined);
  });

  test('opening it changes nothing', () => {
    assert.deepEqual(opened().events, []);
  });

  test('has a size as long as it has not hung up', () => {
    assert.deepEqual(opened().terminal.size(), { columns: 80, rows: 25 });
    const readSize = (): never => {
      throw Object.assign(new Error('ioctl'), { code: 'EIO' });
    };
    assert.equal(opened({ readSize }).terminal.size(), undefined);
  });

  test('the guardian is there before the terminal becomes raw', () => {
    const { events, terminal } = opened();
    terminal.enterRaw();
    assert.deepEqual(events, ['guardian', 'raw']);
    assert.equal(terminal.raw, true);
  });

  test('closing restores first and dismisses the guardian after', () => {
    const { events, terminal } = opened();
    terminal.enterRaw();
    terminal.close();
    terminal.close();
    assert.deepEqual(events, ['guardian', 'raw', 'as found', 'dismiss']);
    assert.equal(terminal.raw, false);
  });

  test('closing what was never raw writes nothing', () => {
    const { events, terminal } = opened();
    terminal.close();
    assert.deepEqual(events, []);
  });

  test('a stop gives the terminal back before the process stops, and a continue takes it again', () => {
    const { events, terminal } = opened();
    terminal.enterRaw();
    terminal.stop();
    terminal.enterRaw();
    assert.deepEqual(events, ['guardian', 'raw', 'as found', 'stop', 'raw']);
  });

  test('entering again writes again, since a shell may have changed the settings in between', () => {
    const { events, terminal } = opened();
    terminal.enterRaw();
    terminal.enterRaw();
    assert.deepEqual(events, ['guardian', 'raw', 'raw']);
  });

  test('without a guardian it works and warns once', () => {
    const { events, terminal } = opened({
      startGuardian: () => {
        throw new Error('no stty');
      },
    });
    terminal.enterRaw();
    terminal.enterRaw();
    assert.equal(events.length, 3);
    assert.match(events[0] ?? '', /stays raw if this process is killed .*no stty$/);
  });

  test('a terminal that hung up needs no restoring', () => {
    const failure = Object.assign(new Error('gone'), { code: 'EIO' });
    let hungUp = false;
    const { events, terminal } = opened({
      writeSettings: () => {
        if (hungUp) throw failure;
      },
    });
    terminal.enterRaw();
    hungUp = true;
    terminal.close();
    assert.deepEqual(events, ['guardian', 'dismiss']);
  });

  test('another failure to restore is reported, and the guardian ends all the same', () => {
    let broken = false;
    const { events, terminal } = opened({
      writeSettings: () => {
        if (broken) throw Object.assign(new Error('EBADF'), { code: 'EBADF' });
      },
    });
    terminal.enterRaw();
    broken = true;
    assert.throws(() => terminal.close(), { code: 'EBADF' });
    assert.deepEqual(events, ['guardian', 'dismiss']);
  });
});

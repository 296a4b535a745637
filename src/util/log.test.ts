import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Logger, type LogLevel, type LogSink, logLine } from './log.ts';

function createLogger(level: LogLevel) {
  const lines: string[] = [];
  const clock = { now: 0, nowNs: () => clock.now };
  const sink: LogSink = (...message) => void lines.push(logLine(...message));
  return { lines, clock, logger: new Logger('serial0', { level, clock, sink }) };
}

test('messages above the level are dropped', () => {
  const { lines, logger } = createLogger('warn');
  logger.error('a');
  logger.warn('b');
  logger.info('c');
  logger.debug('d');
  assert.deepEqual(lines, ['error: serial0: a', 'warn: serial0: b']);
  assert.equal(logger.isEnabled('info'), false);
});

test('a source that floods is cut off, and says how much it left out', () => {
  const { lines, clock, logger } = createLogger('info');
  for (let i = 0; i < 1000; i++) logger.info('again');
  assert.equal(lines.length, 20);
  clock.now = 10e9;
  logger.info('later');
  assert.deepEqual(lines.slice(20), ['warn: serial0: 980 messages left out', 'info: serial0: later']);
});

test('a child has a budget of its own', () => {
  const { lines, logger } = createLogger('info');
  for (let i = 0; i < 100; i++) logger.info('again');
  logger.child('rtc').info('tick');
  assert.equal(lines.at(-1), 'info: rtc: tick');
});

test('control characters are escaped', () => {
  const { lines, logger } = createLogger('info');
  logger.info('a\x1b[2J\r\nb');
  assert.deepEqual(lines, ['info: serial0: a\\x1b[2J\\x0d\\x0ab']);
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseSerialOption, SERIAL_KEYS } from './serial-options.ts';

const defaults = { hardware: 'serial', num: 1, type: 'stdout', console: false, stdin: false };

describe('a well-formed --serial', () => {
  const cases: readonly [string, object][] = [
    ['type=stdout', defaults],
    ['stdout', defaults],
    ['num=2,type=sink', { ...defaults, num: 2, type: 'sink' }],
    ['type=stdout,console,stdin', { ...defaults, console: true, stdin: true }],
    ['type=stdout,console=true,stdin=false', { ...defaults, console: true }],
    ['type=file,path=/tmp/a,num=4', { ...defaults, type: 'file', path: '/tmp/a', num: 4 }],
    ['type=file,path="a,b"', { ...defaults, type: 'file', path: 'a,b' }],
    ['unix-stream,path=s', { ...defaults, type: 'unix-stream', path: 's' }],
    ['hardware=debugcon,type=stdout', { ...defaults, hardware: 'debugcon' }],
    ['stdout,earlycon', { ...defaults, earlycon: true }],
    ['stdout,jail', { ...defaults, jail: true }],
    ['stdout,jail=false', defaults],
    [
      'num=16,hardware=virtio-console,type=unix-stream,path=s,name=agent.0',
      { ...defaults, hardware: 'virtio-console', num: 16, type: 'unix-stream', path: 's', name: 'agent.0' },
    ],
  ];
  for (const [text, expected] of cases) {
    test(text, () => {
      assert.deepEqual(parseSerialOption(text), { port: expected, problems: [] });
    });
  }
});

describe('a mistaken --serial', () => {
  const types = 'must be one of stdout, file, sink, unix, unix-stream';
  const cases: readonly [string, string[]][] = [
    ['', ['is empty']],
    ['num=1', ['type=… is missing']],
    ['console', ['type=… is missing']],
    ['type=pipe', [`type="pipe": ${types}`]],
    ['pipe', [`type="pipe": ${types}`]],
    ['type', [`type: ${types}`]],
    ['type=stdout,num=0', ['num="0": must be a number from 1 on']],
    ['type=stdout,num=5', ['num="5": must be 1 to 4']],
    ['type=stdout,num=01', ['num="01": must be a number from 1 on']],
    ['type=stdout,num', ['num: must be a number from 1 on']],
    ['type=stdout,num=17,hardware=virtio-console', ['num="17": must be 1 to 16']],
    ['type=stdout,name', ['name: needs a value']],
    ['type=stdout,console=yes', ['console="yes": must be true or false']],
    ['type=file,path=', ['path="": needs a value']],
    ['type=stdout,type=sink', ['key type is given twice']],
    ['type=stdout,nmu=1', [`unknown key "nmu"; the keys are ${SERIAL_KEYS.join(', ')}`]],
    ['type=stdout,__proto__=1', [`unknown key "__proto__"; the keys are ${SERIAL_KEYS.join(', ')}`]],
    ['type=x,num=9,console=2', [`type="x": ${types}`, 'console="2": must be true or false', 'num="9": must be 1 to 4']],
  ];
  for (const [text, problems] of cases) {
    test(JSON.stringify(text), () => {
      assert.deepEqual(parseSerialOption(text), { problems });
    });
  }

  test('an escape sequence in it does not reach the message', () => {
    const message = parseSerialOption('type=\x1b[2J\x9b').problems.join();
    assert.match(message, /^type="\\u001b\[2J\\u009b": /);
  });
});

test('any text gives either a port or a problem, and never an exception', () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom(...SERIAL_KEYS, '=', ',', 'stdout', 'file', 'true', '1', '"', "'"),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
      const { port, problems } = parseSerialOption(pieces.join(''));
      assert.equal(port === undefined, problems.length > 0);
    }),
  );
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseVsockOption } from './vsock-options.ts';

describe('--vsock', () => {
  for (const [text, vsock] of [
    ['cid=3,socket=/run/vm', { cid: 3, socketPath: '/run/vm' }],
    ['3,socket="a,b"', { cid: 3, socketPath: 'a,b' }],
    ['socket=s,cid=4294967295', { cid: 4294967295, socketPath: 's' }],
  ] as const) {
    test(`${text} is understood`, () => {
      assert.deepEqual(parseVsockOption(text), { vsock, problems: [] });
    });
  }

  for (const [text, problem] of [
    ['', 'is empty'],
    ['cid=3', 'socket=… is missing'],
    ['socket=s', 'cid=… is missing'],
    ['cid=3,socket=', 'socket="": needs a value'],
    ['cid=-3,socket=s', 'cid="-3": must be a whole number'],
    ['cid=3,socket=s,port=1', 'unknown key "port"; the keys are cid, socket'],
    ['cid=3,cid=3,socket=s', 'key cid is given twice'],
  ] as const) {
    test(`${JSON.stringify(text)}: ${problem}`, () => {
      assert.deepEqual(parseVsockOption(text), { problems: [problem] });
    });
  }
});

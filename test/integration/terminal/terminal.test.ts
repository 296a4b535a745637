import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Observation } from './scenario.ts';

/** util-linux's script(1) gives a command a pseudo terminal; it is part of Debian's base system. */
const skip =
  spawnSync('script', ['--version']).error === undefined ? false : 'script(1) of util-linux is not installed';

const scenarioPath = fileURLToPath(new URL('scenario.ts', import.meta.url));

describe('a terminal that was raw', { skip }, () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'crosvm-terminal-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function observe(end: string): Observation {
    const resultPath = join(folder, end);
    const command = `'${process.execPath}' '${scenarioPath}' '${resultPath}' ${end}`;
    const { status, stdout } = spawnSync('script', ['-qec', command, '/dev/null'], {
      timeout: 30_000,
      encoding: 'latin1',
    });
    assert.equal(status, 0, stdout);
    return JSON.parse(readFileSync(resultPath, 'utf8')) as Observation;
  }

  for (const end of ['close', 'exit', 'throw', 'SIGTERM', 'SIGHUP', 'SIGSEGV', 'SIGKILL', 'group']) {
    test(`is as before after the end: ${end}`, () => {
      const { before, held, after } = observe(end);
      assert.notEqual(held, before);
      assert.equal(after, before);
    });
  }

  test('is as before while the process is stopped, raw again when it continues', () => {
    const { before, held, stopped, continued, after } = observe('stop');
    assert.equal(stopped, before);
    assert.equal(continued, held);
    assert.equal(after, before);
  });

  test('stays raw when the guardian is killed too: the guardian is what restores it', () => {
    const { before, held, after } = observe('unguarded');
    assert.notEqual(held, before);
    assert.equal(after, held);
  });
});

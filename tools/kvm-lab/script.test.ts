import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { labScript } from './script.ts';

test('the script of the lab is shell, whatever the command has in it', () => {
  const script = labScript({ command: `echo 'it''s' "$HOME" && \`false\``, limitS: 5 });
  const { status, stderr } = spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
});

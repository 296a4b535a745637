import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { main } from './main.ts';
import { RecordedIo } from './testing.ts';

const folder = mkdtempSync(join(tmpdir(), 'create-qcow2-'));
after(() => rmSync(folder, { recursive: true }));

async function call(...argv: string[]) {
  const io = new RecordedIo();
  const code = await main(['create_qcow2', ...argv], io);
  return { code, stderr: io.stderr };
}

describe('crosvm create_qcow2', () => {
  test('makes an image of the size', async () => {
    const path = join(folder, 'new');
    assert.deepEqual(await call(path, '3G'), { code: 0, stderr: '' });
    const content = readFileSync(path);
    assert.equal(content.readUInt32BE(0), 0x514649fb);
    assert.equal(content.readBigUInt64BE(24), 3n << 30n);
  });

  test('names what lies below, with its format', async () => {
    writeFileSync(join(folder, 'base'), new Uint8Array(512));
    const path = join(folder, 'overlay');
    assert.equal((await call('--backing=base', '--backing-format=raw', path, '1M')).code, 0);
    assert.match(readFileSync(path).subarray(0, 512).toString('latin1'), /raw.*base/s);
    const next = await call('--backing=overlay', '--backing-format', 'qcow2', join(folder, 'top'), '1M');
    assert.deepEqual(next, { code: 0, stderr: '' });
  });

  test('leaves what exists alone', async () => {
    const path = join(folder, 'exists');
    writeFileSync(path, 'precious');
    const { code, stderr } = await call(path, '1M');
    assert.equal(code, 1);
    assert.match(stderr, /EEXIST/);
    assert.equal(statSync(path).size, 8);
  });

  test('a file below that is not of its format is refused, and nothing is made', async () => {
    writeFileSync(join(folder, 'text'), 'no image');
    const path = join(folder, 'refused');
    const { code, stderr } = await call('--backing=text', '--backing-format=qcow2', path, '1M');
    assert.equal(code, 1);
    assert.match(stderr, /magic/);
    assert.throws(() => statSync(path), { code: 'ENOENT' });
  });

  for (const [argv, message] of [
    [[], /PATH: missing.*\n.*SIZE: missing/],
    [['a', 'much'], /SIZE: "much": must be a number/],
    [['a', '513'], /SIZE: "513": must be a multiple of 512/],
    [['a', '0'], /SIZE: "0": must be/],
    [['a', '9999999999999T'], /SIZE: /],
    [['a', '1M', 'b'], /"b": unexpected argument/],
    [['a', '1M', '--backing=b'], /--backing: needs --backing-format/],
    [['a', '1M', '--backing-format=raw'], /without --backing/],
    [['a', '1M', '--backing=b', '--backing-format=vmdk'], /"vmdk" is not one of raw, qcow2/],
  ] as const) {
    test(`${JSON.stringify(argv)} is a mistake`, async () => {
      const { code, stderr } = await call(...argv);
      assert.equal(code, 35);
      assert.match(stderr, message);
    });
  }
});

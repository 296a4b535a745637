import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { main } from './main.ts';
import { RecordedIo } from './testing.ts';

async function run(...argv: string[]): Promise<{ status: number; out: string; err: string }> {
  const io = new RecordedIo();
  const status = await main(argv, io);
  return { status, out: io.stdout, err: io.stderr };
}

describe('commands with arguments before the sockets', () => {
  test('everything that is missing is told at once', async () => {
    const err = [
      'crosvm: disk: missing: resize\n',
      'crosvm: INDEX: missing: the number of a disk, 0 to 25: 0 is vda\n',
      'crosvm: SIZE: missing: a number of bytes, or one with K, M, G or T\n',
      "crosvm: SOCKET: missing: give the path of a machine's control socket\n",
    ];
    assert.deepEqual(await run('disk'), { status: 35, out: '', err: err.join('') });
  });

  test('everything that is wrong is told at once', async () => {
    const err = [
      'crosvm: disk: "shrink": must be resize\n',
      'crosvm: INDEX: "26": must be the number of a disk, 0 to 25: 0 is vda\n',
      'crosvm: SIZE: "-1G": must be a number of bytes, or one with K, M, G or T\n',
      'crosvm: "b": unexpected argument\n',
    ];
    assert.deepEqual(await run('disk', '--', 'shrink', '26', '-1G', 'a', 'b'), {
      status: 35,
      out: '',
      err: err.join(''),
    });
    assert.equal((await run('balloon', `${'9'.repeat(16)}T`, 'a')).status, 35);
  });

  test('the help shows them', async () => {
    const { out } = await run('help', 'disk');
    assert.match(out, /^Usage: crosvm disk \[OPTIONS\] resize INDEX SIZE SOCKET\n\nINDEX is the number of a disk/);
    assert.match(
      (await run('balloon', '--help')).out,
      /^Usage: crosvm balloon \[OPTIONS\] SIZE SOCKET…\n\nSIZE is a number/,
    );
  });
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { BLOCK_KEYS, DISK_KEYS } from './block-options.ts';
import { COMMANDS } from './help.ts';
import { main } from './main.ts';
import { NET_KEYS } from './net-options.ts';
import { RUN_OPTIONS } from './run-options.ts';
import { SERIAL_KEYS } from './serial-options.ts';
import { BrokenOutput, RecordedIo } from './testing.ts';

const repositoryFile = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

async function call(...argv: string[]) {
  const io = new RecordedIo();
  const code = await main(argv, io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}

describe('crosvm', () => {
  test('without a command shows the help on stderr and fails as a bad argument', async () => {
    const { code, stdout, stderr } = await call();
    assert.equal(code, 35);
    assert.equal(stdout, '');
    assert.match(stderr, /^Usage: crosvm COMMAND/);
  });

  for (const argv of [['version'], ['--version'], ['-V']]) {
    test(`${argv} prints the version of package.json`, async () => {
      const { version } = JSON.parse(repositoryFile('package.json')) as { version: string };
      assert.deepEqual(await call(...argv), { code: 0, stdout: `crosvm ${version}\n`, stderr: '' });
    });
  }

  for (const argv of [['help'], ['--help'], ['-h']]) {
    test(`${argv} names every command`, async () => {
      const { code, stdout } = await call(...argv);
      assert.equal(code, 0);
      for (const name of Object.keys(COMMANDS)) assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
    });
  }

  test('help run names every option of run within 80 columns', async () => {
    const { code, stdout } = await call('help', 'run');
    assert.equal(code, 0);
    for (const { name } of RUN_OPTIONS) assert.match(stdout, new RegExp(`--${name}\\b`));
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
  });

  test('help doctor describes --json', async () => {
    assert.match((await call('help', 'doctor')).stdout, /--json/);
  });

  const mistakes: readonly [string[], string][] = [
    [
      ['rum'],
      'crosvm: "rum": no such command; there are run, stop, status, suspend, resume, powerbtn, balloon, disk, balloon_stats, create_qcow2, doctor, version, help\n',
    ],
    [
      ['constructor'],
      'crosvm: "constructor": no such command; there are run, stop, status, suspend, resume, powerbtn, balloon, disk, balloon_stats, create_qcow2, doctor, version, help\n',
    ],
    [['version', 'now'], 'crosvm: "now": unexpected argument\n'],
    [['version', '-x'], 'crosvm: -x: unknown option\n'],
    [
      ['help', 'toString'],
      'crosvm: "toString": no such command; there are run, stop, status, suspend, resume, powerbtn, balloon, disk, balloon_stats, create_qcow2, doctor, version, help\n',
    ],
    [['doctor', 'who'], 'crosvm: "who": unexpected argument\n'],
    [['doctor', '--json=1'], 'crosvm: --json: takes no value\n'],
  ];
  for (const [argv, line] of mistakes) {
    test(`${argv.join(' ')} is one line and the exit status for bad arguments`, async () => {
      assert.deepEqual(await call(...argv), { code: 35, stdout: '', stderr: line });
    });
  }

  test('run without a kernel is a bad argument', async () => {
    assert.deepEqual(await call('run'), {
      code: 35,
      stdout: '',
      stderr: 'crosvm: KERNEL: missing: give the path of a file\n',
    });
  });

  test('an output that nobody reads any more ends the command quietly', async () => {
    const io = new BrokenOutput(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    const code = await main(['help'], io);
    assert.equal(code, 1);
    assert.equal(io.stderr, '');
  });

  test('an error of the host is one line without a trace', async () => {
    const io = new BrokenOutput(Object.assign(new Error('write ENOSPC: no space left on device'), { code: 'ENOSPC' }));
    const code = await main(['help'], io);
    assert.equal(code, 1);
    assert.equal(io.stderr, 'crosvm: write ENOSPC: no space left on device\n');
  });
});

test('a mistake of the program itself shows where it was made', async () => {
  const io = new BrokenOutput(new TypeError('undefined is no function'));
  const code = await main(['help'], io);
  assert.equal(code, 1);
  assert.match(io.stderr, /^crosvm: internal error: undefined is no function\n.*\n\s+at .*main.test.ts/);
});

describe('the documentation', () => {
  test('docs/exit-codes.md has a row for each exit status and no other', () => {
    const rows = [...repositoryFile('docs/exit-codes.md').matchAll(/^\| (\d+) \| `([a-z-]+)`/gm)];
    const documented = rows.map(([, code, reason]) => [reason, Number(code)]);
    assert.deepEqual(new Map(documented as [string, number][]), new Map(Object.entries(EXIT_CODES)));
  });

  test('docs/command-line.md describes each option, serial key and command', () => {
    const page = repositoryFile('docs/command-line.md');
    for (const { name, short } of RUN_OPTIONS) {
      assert.ok(page.includes(`--${name}`), name);
      if (short !== undefined) assert.ok(page.includes(`\`-${short}\``), short);
    }
    for (const key of [...SERIAL_KEYS, ...NET_KEYS, ...BLOCK_KEYS, ...DISK_KEYS])
      assert.ok(page.includes(`\`${key}\``), key);
    for (const name of Object.keys(COMMANDS)) assert.ok(page.includes(`crosvm ${name}`), name);
  });
});

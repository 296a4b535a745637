/** The package as a user has it: packed, installed into an empty folder, run by its command. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { code, tinyKernel } from '../run/tiny-guest.ts';
import { ENVIRONMENT, installPackage, nodesOlderThan } from './install.ts';

const { version, engines } = JSON.parse(
  readFileSync(resolve(import.meta.dirname, '../../../package.json'), 'utf8'),
) as { version: string; engines: { node: string } };
const oldestMajor = Number.parseInt(engines.node.replace(/^\D+/, ''), 10);

const RUN_LIMIT_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'crosvm-package-'));
// Also when packing fails, which ends this file before its tests.
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const installation = installPackage(folder);
const skip = installation.unavailable;

function call(command: string, ...parameters: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(command, parameters, {
    cwd: folder,
    env: ENVIRONMENT,
    encoding: 'utf8',
    timeout: RUN_LIMIT_MS,
  });
  return { status, stdout, stderr };
}

/** The command's path; only for tests that do not run without the package. */
function command(): string {
  assert.ok(installation.unavailable === false);
  return installation.command;
}

describe('the installed package', { skip }, () => {
  test('has the command, what was built, and the documentation, but neither sources nor tests', () => {
    const files = globSync('**/*', { cwd: join(folder, 'target/node_modules/crosvm-ts') });
    const places = new Set(files.map((path) => path.split('/')[0]));
    assert.deepEqual([...places].sort(), ['LICENSE', 'README.md', 'bin', 'dist', 'docs', 'package.json', 'seccomp']);
    assert.deepEqual(
      files.filter((path) => /\.ts$|\btest/.test(path)),
      [],
    );
  });

  test('runs a machine with devices in processes of their own, behind the policies of the package', () => {
    const kernel = join(folder, 'kernel-of-devices');
    writeFileSync(kernel, tinyKernel([code.print('with devices'), code.powerOff, code.spin]));
    const vsock = `--vsock=7,socket=${join(folder, 'vsock')}`;
    const ended = call(command(), 'run', '--mem=32', '--hypervisor=software', vsock, kernel);
    assert.deepEqual([ended.status, ended.stdout], [EXIT_CODES['power-off'], 'with devices'], ended.stderr);
  });

  test('says its version', () => {
    assert.deepEqual(call(command(), 'version'), { status: 0, stdout: `crosvm ${version}\n`, stderr: '' });
  });

  test('finds with doctor that machines can run here', () => {
    const { status, stdout, stderr } = call(command(), 'doctor');
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^ok +system calls +koffi loads$/m);
    assert.match(stdout, /^'crosvm run' will use the \w+ hypervisor: .+\n$/m);
    assert.equal(stderr, '');
  });

  for (const { name, piece, status } of [
    { name: 'powers off', piece: code.powerOff, status: EXIT_CODES['power-off'] },
    { name: 'resets', piece: code.resetByResetControl, status: EXIT_CODES.reset },
  ]) {
    test(`runs a kernel that prints and ${name}: ${status}`, () => {
      const kernel = join(folder, 'kernel');
      writeFileSync(kernel, tinyKernel([code.print('from the package'), piece, code.spin]));
      const ended = call(command(), 'run', '--mem=32', '--hypervisor=software', kernel);
      assert.deepEqual([ended.status, ended.stdout], [status, 'from the package'], ended.stderr);
      assert.match(ended.stderr, /^crosvm: hypervisor: software \([^\n]+\)\n$/);
    });
  }

  test('reports a mistake as the checkout does', () => {
    assert.deepEqual(call(command(), 'run', 'missing'), {
      status: EXIT_CODES['bad-arguments'],
      stdout: '',
      stderr: 'crosvm: KERNEL: "missing": does not exist\n',
    });
  });
});

describe('the installed command on a Node.js that is too old', { skip }, () => {
  const tooOld = (its: string) => ({
    status: EXIT_CODES['host-error'],
    stdout: '',
    stderr: `crosvm: needs Node.js ${oldestMajor} or newer; this is ${its}\n`,
  });

  for (const its of [`${oldestMajor - 1}.99.0`, '14.21.3']) {
    test(`says so in one line where process.versions names ${its}`, () => {
      const versions = `{ value: { ...process.versions, node: '${its}' } }`;
      const pretend = `data:text/javascript,Object.defineProperty(process, 'versions', ${versions})`;
      assert.deepEqual(call(process.execPath, '--import', pretend, command(), 'version'), tooOld(its));
    });
  }

  const older = nodesOlderThan(oldestMajor);
  for (const { path, version: its } of older) {
    test(`says so in one line on this machine's Node.js ${its}`, () => {
      assert.deepEqual(call(path, command(), 'version'), tooOld(its));
    });
  }
  const none = older.length > 0 ? false : `no Node.js before ${oldestMajor} on the search path`;
  test('there is an old Node.js to say so on', { skip: none }, () => assert.ok(older.length > 0));
});

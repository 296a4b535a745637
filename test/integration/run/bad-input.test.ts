/** `crosvm run` with bad input, once each: it says what is wrong, ends as it is documented to, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import * as inputs from './bad-inputs.ts';
import { type Leavings, REPORT_PEAK, Scratch } from './scratch.ts';

const CROSVM = resolve(import.meta.dirname, '../../../bin/crosvm.js');
/** A refusal takes less than a second; who is over this hangs. */
const LIMIT = { timeoutMs: 60_000 };
/** Node with the machine's memory mapped but hardly used takes about 110 MiB. */
const PEAK_LIMIT_MIB = 512;
/** root reads and writes everything unless this capability is taken away, capabilities(7). */
const WITHOUT_OVERRIDE = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'];

const asRoot = process.geteuid?.() === 0;
const canDropOverride = spawnSync('setpriv', [...WITHOUT_OVERRIDE.slice(1), 'true']).status === 0;

function run(input: inputs.BadInput, scratch: Scratch, prefix: readonly string[] = []): Leavings {
  writeFileSync(join(scratch.folder, 'kernel'), inputs.GOOD_KERNEL);
  for (const [name, make] of Object.entries(input.files ?? {})) make(join(scratch.folder, name));
  return scratch.run([...prefix, process.execPath, ...REPORT_PEAK, CROSVM, 'run', ...input.argv], LIMIT);
}

/** What the user reads: the lines on standard error without the first one about the hypervisor. */
function linesOf(errors: string): string[] {
  assert.ok(errors.endsWith('\n'), 'the last line is whole');
  const lines = errors.slice(0, -1).split('\n');
  return lines[0]?.startsWith('crosvm: hypervisor: ') ? lines.slice(1) : lines;
}

function assertRefused(left: Leavings, { mistakes }: inputs.BadInput): void {
  assert.equal(left.status, EXIT_CODES['bad-arguments'], left.errors);
  assert.doesNotMatch(left.errors, /^ {4}at |internal error/m);
  const lines = linesOf(left.errors);
  assert.equal(lines.length, mistakes.length, left.errors);
  for (const [index, [option, words]] of mistakes.entries()) {
    const [, said = ''] = lines[index]?.split(`crosvm: ${option}: `) ?? [];
    assert.match(said, words, `about ${option}: ${lines[index]}`);
  }
  assert.equal(left.output, '');
  assert.deepEqual(left.created, []);
  assert.deepEqual(left.processes, []);
  assert.ok((left.peakMib ?? Number.NaN) < PEAK_LIMIT_MIB, `${left.peakMib} MiB at the peak`);
}

for (const [part, list] of [
  ['a kernel that is no kernel for this machine', inputs.KERNELS],
  ['a kernel made to do harm', inputs.HOSTILE_KERNELS],
  ['an initrd', inputs.INITRDS],
  ['a number', inputs.NUMBERS],
  ['an option', inputs.OPTIONS],
  ['a serial port', inputs.SERIAL_PORTS],
  ['several mistakes', inputs.SEVERAL],
] as const) {
  describe(`bad input, ${part}`, () => {
    for (const input of list) {
      test(`${JSON.stringify(input.what).slice(1, -1)} is refused`, () => {
        using scratch = new Scratch();
        assertRefused(run(input, scratch), input);
      });
    }
  });
}

describe('bad input, a permission that is lacking', {
  skip: asRoot && !canDropOverride ? 'root may read everything here: setpriv cannot take CAP_DAC_OVERRIDE away' : false,
}, () => {
  for (const input of inputs.WITHOUT_PERMISSION) {
    test(`${input.what} is refused`, () => {
      using scratch = new Scratch();
      assertRefused(run(input, scratch, asRoot ? WITHOUT_OVERRIDE : []), input);
    });
  }
});

describe('the controls', () => {
  test('the kernel beside the bad input runs, and leaves nothing behind either', () => {
    using scratch = new Scratch();
    const left = run({ what: '', argv: ['--mem=32', '--hypervisor=software', 'kernel'], mistakes: [] }, scratch);
    assert.equal(left.status, EXIT_CODES['power-off'], left.errors);
    assert.deepEqual([left.created, left.processes], [[], []]);
  });

  test('files and processes that a program leaves behind are seen', () => {
    using scratch = new Scratch();
    const left = scratch.run(['sh', '-c', 'sleep 600 & setsid sleep 600 & touch here "$TMPDIR/there"'], LIMIT);
    assert.equal(left.processes.length, 2);
    assert.deepEqual(
      left.created.map((path) => path.slice(path.lastIndexOf('/') + 1)),
      ['here', 'there'],
    );
  });
});

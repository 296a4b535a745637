import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CodedError } from '#util/errors.ts';
import { type Config, ConfigError } from '#vmm/config.ts';
import type { ExitReport } from '#vmm/exit-codes.ts';
import type { HostFiles } from '#vmm/host-files.ts';
import type { RunEnvironment } from '#vmm/run-environment.ts';
import { type HypervisorFacts, selectHypervisor } from '#vmm/select-hypervisor.ts';
import { Terminal } from '#vmm/terminal.ts';
import { run } from './run.ts';
import { RecordedIo } from './testing.ts';

const facts: HypervisorFacts = { kvmDevice: { opens: false, code: 'ENOENT' }, hardware: undefined };

const files: HostFiles = {
  stat: () => ({ kind: 'file', sizeBytes: 1 }),
  assertReadable: () => {},
  assertWritable: () => {},
};

interface Setting {
  readonly facts?: HypervisorFacts;
  readonly terminal?: Terminal;
  readonly runConfig?: (config: Config, environment: RunEnvironment) => ExitReport;
}

async function runWith(argv: readonly string[], setting: Setting = {}) {
  const io = new RecordedIo();
  const runs: Config[] = [];
  let nowNs = 0;
  const code = await run(argv, {
    io,
    files,
    facts: () => setting.facts ?? facts,
    clock: { nowNs: () => (nowNs += 2_000_000), wallMs: () => 0 },
    openTerminal: async () => setting.terminal,
    loadRunConfig: async () => (config, environment) => {
      runs.push(config);
      return setting.runConfig?.(config, environment) ?? { reason: 'power-off' };
    },
  });
  return { code, runs, ...io };
}

/** A terminal that records what is written to it. */
function fakeTerminal(events: string[]): Terminal {
  const terminal = Terminal.open(0, {
    isTerminal: () => true,
    readSettings: () => new Uint8Array(36),
    writeSettings: (_fd, settings) => void events.push(settings[23] === 1 ? 'raw' : 'as found'),
    readSize: () => ({ columns: 80, rows: 25 }),
    startGuardian: () => ({ pid: 1, dismiss: () => void events.push('dismiss') }),
    stopSelf: () => {},
    warn: () => {},
  });
  assert.ok(terminal);
  return terminal;
}

describe('crosvm run', () => {
  test('runs the configuration and says which hypervisor and why', async () => {
    const { code, runs, stdout, stderr } = await runWith(['-m64', 'vmlinuz']);
    assert.equal(code, 0);
    assert.equal(runs[0]?.memoryMib, 64);
    assert.equal(stdout, '');
    assert.equal(stderr, 'crosvm: hypervisor: software (no /dev/kvm)\n');
  });

  const ends: readonly [ExitReport, number, string][] = [
    [{ reason: 'power-off' }, 0, ''],
    [{ reason: 'stopped' }, 0, ''],
    [{ reason: 'reset', message: 'the guest asked for a reset' }, 32, 'crosvm: the guest asked for a reset\n'],
    [{ reason: 'crash', message: 'triple fault' }, 33, 'crosvm: triple fault\n'],
    [{ reason: 'panic' }, 34, ''],
    [{ reason: 'host-error', message: 'disk full' }, 1, 'crosvm: disk full\n'],
    [{ reason: 'signal', signal: 15 }, 143, ''],
    [{ reason: 'debug-exit', value: 0 }, 1, ''],
    [{ reason: 'debug-exit', value: 0x90 }, 33, ''],
  ];
  for (const [report, expected, line] of ends) {
    test(`ends with ${expected} on ${report.reason}`, async () => {
      const { code, stderr } = await runWith(['k'], { runConfig: () => report });
      assert.equal(code, expected);
      assert.equal(stderr, `crosvm: hypervisor: software (no /dev/kvm)\n${line}`);
    });
  }

  test('mistakes are one line each, nothing runs and the hypervisor is not said', async () => {
    const { code, runs, stderr } = await runWith(['--mem=1', '--cpus=x', '--hypervisor=software']);
    assert.equal(code, 35);
    assert.deepEqual(runs, []);
    assert.deepEqual(stderr.split('\n'), [
      'crosvm: --cpus: "x" is not a whole number',
      'crosvm: --mem: 1 MiB: must be 32 to 3328',
      'crosvm: KERNEL: missing: give the path of a file',
      '',
    ]);
  });

  test("kvm that this host lacks is the host's error", async () => {
    const { code, runs, stderr } = await runWith(['--hypervisor=kvm', 'k'], { facts });
    assert.equal(code, 1);
    assert.deepEqual(runs, []);
    assert.equal(stderr, 'crosvm: --hypervisor kvm: no /dev/kvm\n');
  });

  test('what the loaders find wrong with a file is reported like every other mistake', async () => {
    const { code, stderr } = await runWith(['k'], {
      runConfig: () => {
        throw new ConfigError([{ option: 'KERNEL', message: '"k": not a kernel' }]);
      },
    });
    assert.equal(code, 35);
    assert.match(stderr, /^crosvm: hypervisor: .*\ncrosvm: KERNEL: "k": not a kernel\n$/);
  });

  test('--stats prints one line of JSON after everything else', async () => {
    const report: ExitReport = { reason: 'reset', message: 'bye', stats: { instructions: 7 } };
    const { stderr } = await runWith(['--stats', 'k'], { runConfig: () => report });
    assert.deepEqual(JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? ''), {
      exit: 'reset',
      exitCode: 32,
      wallMs: 2,
      instructions: 7,
    });
  });

  test('--help prints the help and runs nothing', async () => {
    const { code, runs, stdout } = await runWith(['--help', '--nonsense']);
    assert.equal(code, 0);
    assert.deepEqual(runs, []);
    assert.match(stdout, /^Usage: crosvm run/);
  });
});

describe("crosvm run's terminal", () => {
  test('is restored when the run ends', async () => {
    const events: string[] = [];
    await runWith(['k'], {
      terminal: fakeTerminal(events),
      runConfig: (_config, { terminal }) => {
        terminal?.enterRaw();
        return { reason: 'stopped' };
      },
    });
    assert.deepEqual(events, ['raw', 'as found', 'dismiss']);
  });

  test('is restored when the run throws', async () => {
    const events: string[] = [];
    const failing = runWith(['k'], {
      terminal: fakeTerminal(events),
      runConfig: (_config, { terminal }) => {
        terminal?.enterRaw();
        throw new CodedError('EFAIL', 'broken');
      },
    });
    await assert.rejects(failing, { code: 'EFAIL' });
    assert.deepEqual(events, ['raw', 'as found', 'dismiss']);
  });

  test('gets a carriage return at the end of a line while it is raw', async () => {
    const { stderr } = await runWith(['k'], {
      terminal: fakeTerminal([]),
      runConfig: (_config, { terminal, log }) => {
        log('before');
        terminal?.enterRaw();
        log('during');
        return { reason: 'stopped' };
      },
    });
    assert.ok(stderr.endsWith('crosvm: before\ncrosvm: during\r\n'));
  });

  test('is not opened when no port reads standard input', async () => {
    const terminals: unknown[] = [];
    await runWith(['--serial=sink', 'k'], {
      terminal: fakeTerminal([]),
      runConfig: (_config, { terminal }) => {
        terminals.push(terminal);
        return { reason: 'power-off' };
      },
    });
    assert.deepEqual(terminals, [undefined]);
  });
});

test('the software wish is passed on with its reason', async () => {
  const decision = selectHypervisor('software', facts);
  assert.ok('hypervisor' in decision);
  const { stderr } = await runWith(['--hypervisor', 'software', 'k']);
  assert.equal(stderr, `crosvm: hypervisor: software (${decision.reason})\n`);
});

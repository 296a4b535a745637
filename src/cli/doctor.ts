import { quoted } from '#util/quoted.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { parseArguments } from './arguments.ts';
import { type Diagnosis, diagnose, type HostFacts, type Status } from './diagnosis.ts';
import { doctorHelp } from './help.ts';
import type { CliIo } from './io.ts';
import { reportMistakes } from './mistakes.ts';

const MARKS: Readonly<Record<Status, string>> = { ok: 'ok', note: 'note', fail: 'FAIL' };

/** `crosvm doctor`: exit status 0 when `crosvm run` can work on this host, else that of a host error. */
export async function doctor(argv: readonly string[], io: CliIo, facts?: HostFacts): Promise<number> {
  const parsed = parseArguments(argv, [
    { name: 'json', help: '' },
    { name: 'help', short: 'h', help: '' },
  ]);
  const surplus = parsed.positionals.map((text) => ({ option: quoted(text), message: 'unexpected argument' }));
  const mistakes = [...parsed.mistakes, ...surplus];
  if (mistakes.length > 0) return reportMistakes(io, mistakes);
  if (parsed.flags.has('help')) {
    io.out(doctorHelp());
    return 0;
  }
  const found = facts ?? (await (await import('./host-facts.ts')).gatherHostFacts());
  const diagnosis = diagnose(found);
  io.out(parsed.flags.has('json') ? `${JSON.stringify(diagnosis, null, 2)}\n` : table(diagnosis));
  return diagnosis.usable ? 0 : EXIT_CODES['host-error'];
}

function table({ findings, hypervisor, usable }: Diagnosis): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const rows = findings.map(
    ({ name, status, detail }) => `${MARKS[status].padEnd(5)} ${name.padEnd(width)}  ${detail}\n`,
  );
  const verdict = usable
    ? `'crosvm run' will use the ${hypervisor.name} hypervisor: ${hypervisor.reason}\n`
    : `'crosvm run' cannot work on this host\n`;
  return `${rows.join('')}\n${verdict}`;
}

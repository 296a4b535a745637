/** Tables of what came of a hostile guest's cases, as they stand in docs/hostile-guest.md. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const DOCUMENT = join(import.meta.dirname, '../docs/hostile-guest.md');

export interface Verdict {
  readonly device: string;
  readonly name: string;
  readonly verdict: string;
}

/** A row for each case, a column for each of the devices. */
export function verdictTable(devices: readonly string[], verdicts: readonly Verdict[]): string {
  const rows = new Map<string, Map<string, string>>();
  for (const { device, name, verdict } of verdicts) {
    const row = rows.get(name) ?? new Map<string, string>();
    rows.set(name, row.set(device, verdict));
  }
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const body = [...rows].map(([name, row]) => line([name, ...devices.map((device) => row.get(device) ?? '')]));
  return [line(['Case', ...devices]), `|${'---|'.repeat(devices.length + 1)}`, ...body].join('\n');
}

/** The table of the document under a heading. */
export function documentedTable(heading: string): string {
  const section = readFileSync(DOCUMENT, 'utf8').split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .join('\n');
}

import { readdirSync } from 'node:fs';
import type { FuzzTarget } from './target.ts';

const FOLDER = new URL('targets/', import.meta.url);
const SUFFIX = '.ts';

/** Deliberately wrong: it shows that failures are found and reported, and is no part of `smoke`. */
export const CANARY = 'canary';

/** The names of all targets but the canary: one file each in `targets/`. */
export function targetNames(): string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith(SUFFIX) && !file.endsWith(`.test${SUFFIX}`))
    .map((file) => file.slice(0, -SUFFIX.length))
    .filter((name) => name !== CANARY)
    .sort();
}

/** Of the targets that bring one: a variant that is deliberately wrong, which must fail. */
export async function loadCanaryOf(name: string): Promise<FuzzTarget | undefined> {
  const { canary } = (await import(new URL(name + SUFFIX, FOLDER).href)) as { canary?: FuzzTarget };
  return canary;
}

/** The target of that name, `targets/<name>.ts`; undefined when there is none. */
export async function loadTarget(name: string): Promise<FuzzTarget | undefined> {
  if (name !== CANARY && !targetNames().includes(name)) return undefined;
  const { target } = (await import(new URL(name + SUFFIX, FOLDER).href)) as { target: FuzzTarget };
  if (target.name !== name) throw new Error(`fuzz/targets/${name}.ts exports the target ${target.name}`);
  return target;
}

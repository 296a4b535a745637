/** Modules of a kernel package, by what their files say of themselves: no depmod is needed. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { GuestFilesError } from './guest-error.ts';
import type { GuestKernel } from './kernel.ts';

export interface KernelModule {
  /** As `insmod` is given it, without `.ko`; with underscores. */
  readonly name: string;
  /** Its file on the host. */
  readonly path: string;
}

/** The modules named and all that they need, each once, in the order to load them. */
export function modulesInOrder({ modules, release }: GuestKernel, names: readonly string[]): KernelModule[] {
  const paths = new Map(
    readdirSync(modules, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [moduleName(path), join(modules, path)]),
  );
  const ordered = new Map<string, KernelModule>();
  const add = (file: string): void => {
    const name = moduleName(file);
    const path = paths.get(name);
    if (path === undefined) throw new GuestFilesError(`kernel ${release} has no module '${file}'`);
    if (ordered.has(name)) return;
    for (const needed of dependenciesOf(readFileSync(path))) add(needed);
    ordered.set(name, { name, path });
  };
  for (const name of names) add(name);
  return [...ordered.values()];
}

/** What `depends` says in a module's section .modinfo, whose entries end with a NUL. */
export function dependenciesOf(module: Buffer): string[] {
  const key = '\0depends=';
  const start = module.indexOf(key, 0, 'latin1');
  if (start < 0) return [];
  const end = module.indexOf(0, start + key.length);
  const list = module.toString('latin1', start + key.length, end < 0 ? undefined : end);
  return list.split(',').filter((name) => name !== '');
}

/** File names and dependencies differ in dashes. */
const moduleName = (path: string): string => basename(path, '.ko').replaceAll('-', '_');

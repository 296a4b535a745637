/** The project as an installed package: what runs there is built, and no process turns TypeScript into JavaScript. */
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '..');

interface Manifest {
  readonly files: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
}

const manifest = (): Manifest => JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

/** Builds the package and puts it into `folder`, which is the caller's. Returns the program. */
export function installInto(folder: string): string {
  execFileSync(process.execPath, [join(ROOT, 'tools/build.ts')], { stdio: ['ignore', 'inherit', 'inherit'] });
  for (const name of ['package.json', ...manifest().files]) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'bin/crosvm.js');
}

/** Builds one module of a bench with what it imports, as those of the package are, into `folder`, which is the caller's. */
export async function buildModule(source: string, folder: string): Promise<URL> {
  const outfile = join(folder, 'module.js');
  const external = Object.keys(manifest().dependencies);
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  await build({
    entryPoints: [source],
    outfile,
    external,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'esnext',
    logLevel: 'warning',
  });
  return pathToFileURL(outfile);
}

/**
 * npm run build: src/ to dist/ as JavaScript, for Node runs no TypeScript in installed packages. The sources have erasable types only, so that taking them out
 * is all there is to do; modules that are loaded together become one file, `bundle.ts`.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Bundler, REGISTRY, REGISTRY_SOURCE } from './bundle.ts';

const ROOT = resolve(import.meta.dirname, '..');
const SOURCE = resolve(ROOT, 'src');
const DIST = resolve(ROOT, 'dist');
/** What the program, its processes and its threads begin with. */
const ROOTS = ['cli/main.ts', 'jail/probe-main.ts', 'vmm/devices/warden-entry.ts', 'vmm/vcpu-thread.ts'];

function write(path: string, text: string): void {
  const file = resolve(DIST, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

function build(): void {
  rmSync(DIST, { recursive: true, force: true });
  const bundler = new Bundler(ROOTS, (id) => readFileSync(resolve(SOURCE, id), 'utf8'));
  write(REGISTRY, REGISTRY_SOURCE);
  for (const entry of bundler.entries()) write(entry.replace(/\.ts$/, '.js'), bundler.bundle(entry));
}

if (import.meta.main) build();

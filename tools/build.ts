/**
 * npm run build: src/ to dist/program/ as JavaScript, for Node runs no TypeScript in installed packages. What is loaded together is one file: finding and
 * linking hundreds of small modules is most of the time in which a process starts (docs/decisions/0015-start.md).
 */
import { readFileSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { build } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '..');
/** What the program, its processes and its threads begin with: `programEntry` finds them by these names. */
const ENTRIES = ['cli/main', 'jail/probe-main', 'vmm/devices/warden-entry', 'vmm/vcpu-thread'];
const { dependencies } = JSON.parse(readFileSync(resolve(ROOT, 'package.json'), 'utf8')) as {
  dependencies: Readonly<Record<string, string>>;
};

rmSync(resolve(ROOT, 'dist'), { recursive: true, force: true });
// Each alone: a process shares no module with another, and fewer, larger files load faster.
for (const entry of ENTRIES) {
  await build({
    absWorkingDir: ROOT,
    entryPoints: [`src/${entry}.ts`],
    bundle: true,
    // What is imported later, if at all, has files of its own.
    splitting: true,
    format: 'esm',
    platform: 'node',
    // What Node reads is left as it is written.
    target: 'esnext',
    external: Object.keys(dependencies),
    outdir: 'dist/program',
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    logLevel: 'warning',
  });
}

/** Makes the package that users install, and installs it, without touching the checkout. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';

const CHECKOUT = resolve(import.meta.dirname, '../../..');
/** What `npm pack` needs: the files of the package, and what its prepack step builds `dist` with and from. */
const PACKED_FROM = ['package.json', '.gitignore', 'README.md', 'LICENSE', 'bin', 'docs', 'seccomp', 'src', 'tools'];
const NPM_LIMIT_MS = 240_000;
/** Without a network npm would try for minutes. */
const FEW_RETRIES = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=2000'];
/** The codes with which npm says that it does not reach its registry. */
const NO_NETWORK =
  /^npm (?:error|ERR!) code (ERR_SOCKET_TIMEOUT|E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH))$/m;

/** The commands below find the Node.js of this test first, as `#!/usr/bin/env node` looks for it. */
export const ENVIRONMENT: NodeJS.ProcessEnv = {
  ...process.env,
  PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter),
};

export type Installation =
  | { readonly folder: string; readonly command: string; readonly unavailable: false }
  /** Why there is none: the reason to print for skipped tests. */
  | { readonly unavailable: string };

/** Packs a copy of the checkout and installs the tarball into a folder of its own below `folder`. Throws when either fails. */
export function installPackage(folder: string): Installation {
  const copy = join(folder, 'copy');
  for (const name of PACKED_FROM) cpSync(join(CHECKOUT, name), join(copy, name), { recursive: true });
  symlinkSync(join(CHECKOUT, 'node_modules'), join(copy, 'node_modules'));
  const packed = npm(['pack', '--pack-destination', folder], copy);
  if (packed === undefined) return { unavailable: 'npm is not installed' };
  if (packed.status !== 0) throw new Error(`npm pack failed: ${packed.stderr}`);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  if (tarball === undefined) throw new Error(`npm pack left no tarball: ${packed.stdout}`);

  const target = join(folder, 'target');
  mkdirSync(target);
  const options = ['--no-audit', '--no-fund', '--prefer-offline', ...FEW_RETRIES];
  const installed = npm(['install', ...options, join(folder, tarball)], target);
  const code = NO_NETWORK.exec(installed?.stderr ?? '')?.[1];
  if (code !== undefined) return { unavailable: `npm does not reach its registry for the dependencies (${code})` };
  if (installed?.status !== 0) throw new Error(`npm install failed: ${installed?.stderr}`);
  return { folder: target, command: join(target, 'node_modules/.bin/crosvm'), unavailable: false };
}

/** Undefined where there is no npm. The folder is the project for npm, whatever is above it or runs this test. */
function npm(parameters: readonly string[], cwd: string) {
  const { error, ...result } = spawnSync('npm', ['--prefix', cwd, ...parameters], {
    cwd,
    env: ENVIRONMENT,
    encoding: 'utf8',
    timeout: NPM_LIMIT_MS,
  });
  if (error === undefined) return result;
  if ('code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

/** The Node.js programs on the search path that are older than `major` and read modules, with their versions. */
export function nodesOlderThan(major: number): { readonly path: string; readonly version: string }[] {
  /** The first that runs `crosvm.js` as a module without a flag is 12.17; 13 had that from 13.2 on. */
  const oldest = 14;
  const found = new Map<string, string>();
  for (const folder of new Set((process.env['PATH'] ?? '').split(delimiter))) {
    const path = join(folder, 'node');
    const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
    const version = status === 0 ? stdout.trim().replace(/^v/, '') : '';
    const its = Number.parseInt(version, 10);
    if (its >= oldest && its < major && !found.has(version)) found.set(version, path);
  }
  return [...found].map(([version, path]) => ({ path, version }));
}

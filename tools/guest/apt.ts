/**
 * Debian packages by way of apt, which verifies what it downloads. Nothing is installed and /etc/apt is only read: either
 * the machine's own package lists are used, or a private set of lists in the cache (for another Debian release, and for
 * a user who may not refresh the machine's).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ageMs, type CacheFolder, cached } from './cache-folder.ts';
import { GuestFilesError, type Progress } from './guest-error.ts';
import { runCommand } from './run-command.ts';

export const SUITES = ['bookworm', 'trixie'] as const;
export type Suite = (typeof SUITES)[number];
export type Architecture = 'amd64' | 'i386';

/** Package lists older than this are refreshed. */
export const LIST_AGE_LIMIT_MS = 24 * 60 * 60 * 1000;
const MACHINE_LISTS = '/var/lib/apt/lists';
const KEYRINGS = ['/usr/share/keyrings/debian-archive-keyring.gpg', '/usr/share/keyrings/debian-archive-keyring.pgp'];
const DEFAULT_MIRROR = 'http://deb.debian.org/debian';
const DEFAULT_SECURITY_MIRROR = 'http://deb.debian.org/debian-security';

/** Which lists apt reads, as its command-line options. */
export interface Apt {
  readonly description: string;
  readonly options: readonly string[];
  /** The machine's own lists, not those in the cache. */
  readonly ofMachine: boolean;
}

export interface PackageVersion {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

export interface AptOptions {
  readonly cache: CacheFolder;
  readonly suite?: Suite | undefined;
  /** amd64 if absent. The machine need not know of the other. */
  readonly architecture?: Architecture;
  readonly progress: Progress;
}

/** Options for every call: what is installed on this machine does not matter, and no lock is needed to read. */
function commonOptions(architecture: Architecture): string[] {
  return [
    '-qq',
    '-o',
    'Dir::State::status=/dev/null',
    '-o',
    'Debug::NoLocking=1',
    '-o',
    `APT::Architecture=${architecture}`,
    '-o',
    `APT::Architectures::=${architecture}`,
  ];
}

/** apt would drop to its own user for downloads, who may not write into our cache. */
function sandboxOptions(): string[] {
  return process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : [];
}

/** The release this machine runs if it is one that is known here. */
export function machineSuite(osRelease = readOsRelease()): Suite | undefined {
  const field = (name: string): string | undefined => new RegExp(`^${name}="?([^"\\n]*)`, 'm').exec(osRelease)?.[1];
  return field('ID') === 'debian' ? SUITES.find((suite) => suite === field('VERSION_CODENAME')) : undefined;
}

function readOsRelease(): string {
  return existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
}

/** Lists that are at most a day old: the machine's own where they serve, else private ones. */
export async function openApt(options: AptOptions): Promise<Apt> {
  const own = machineSuite();
  const { architecture = 'amd64', suite = own } = options;
  const serves = own !== undefined && suite === own && architecture === 'amd64';
  if (serves && (await refreshMachineLists(options))) {
    const aptOptions = [...commonOptions(architecture), ...sandboxOptions()];
    return { description: 'package lists of this machine', options: aptOptions, ofMachine: true };
  }
  return await openPrivateApt(options);
}

/** Lists in the cache, fetched at most once a day. Throws a GuestFilesError where they cannot be. */
export async function openPrivateApt(options: AptOptions): Promise<Apt> {
  return await privateApt(options, options.suite ?? machineSuite() ?? 'bookworm');
}

/** False where the machine's lists are missing or old and could not be refreshed. */
async function refreshMachineLists({ progress }: AptOptions): Promise<boolean> {
  if (machineListsAreFresh()) return true;
  if (process.getuid?.() !== 0) return false;
  try {
    await runCommand('apt-get', ['-qq', 'update'], { step: 'refreshing the package lists (apt-get update)', progress });
  } catch (error) {
    if (!(error instanceof GuestFilesError) || error.missingProgram) throw error;
    progress(`${error.message}\nusing package lists of our own instead`);
    return false;
  }
  return existsSync(MACHINE_LISTS) && hasPackageLists(MACHINE_LISTS);
}

/** apt gives list files the server's time; its folder for partial downloads tells when it last ran. */
function machineListsAreFresh(): boolean {
  if (!existsSync(MACHINE_LISTS) || !hasPackageLists(MACHINE_LISTS)) return false;
  const age = Math.min(ageMs(MACHINE_LISTS), ageMs(join(MACHINE_LISTS, 'partial')));
  return age < LIST_AGE_LIMIT_MS;
}

/** Whether the folder has lists of packages, of the part of the archive that `part` in a list's name stands for. */
function hasPackageLists(folder: string, part = ''): boolean {
  return readdirSync(folder).some((name) => name.includes('_Packages') && name.includes(part));
}

async function privateApt({ cache, architecture = 'amd64', progress }: AptOptions, suite: Suite): Promise<Apt> {
  const today = Math.floor(Date.now() / LIST_AGE_LIMIT_MS);
  const name = `lists-${suite}-${architecture === 'amd64' ? '' : `${architecture}-`}${today}`;
  dropOldLists(cache, suite, name);
  const root = await cached(cache, name, async (temporary) => {
    const sources = debianSources({ suite, architecture });
    for (const folder of ['state/lists/partial', 'cache/archives/partial', 'etc']) {
      mkdirSync(join(temporary, folder), { recursive: true });
    }
    writeFileSync(join(temporary, 'etc/sources.list'), sources);
    try {
      await runCommand('apt-get', [...privateOptions(temporary, architecture), 'update'], {
        step: `fetching the package lists of Debian '${suite}'`,
        progress,
      });
    } catch (error) {
      // A mirror that is being updated may give some lists and not others: the release's own will do.
      const usable = hasPackageLists(join(temporary, 'state/lists'), `_dists_${suite}_main_`);
      if (!(error instanceof GuestFilesError) || error.missingProgram || !usable) throw error;
      progress(`${error.message}\ngoing on with the package lists that could be fetched`);
    }
    // apt-get update succeeds without a network: it only warns.
    if (!hasPackageLists(join(temporary, 'state/lists'))) {
      throw new GuestFilesError(`the package lists of Debian '${suite}' could not be fetched:\n${sources}`);
    }
  });
  const description = `package lists of Debian '${suite}' for ${architecture}`;
  return { description, options: privateOptions(root, architecture), ofMachine: false };
}

/** Yesterday's lists stay: another process may still read them. */
function dropOldLists(cache: CacheFolder, suite: Suite, current: string): void {
  for (const name of readdirSync(cache.path)) {
    const path = join(cache.path, name);
    if (!name.startsWith(`lists-${suite}-`) || name === current || ageMs(path) < 2 * LIST_AGE_LIMIT_MS) continue;
    rmSync(path, { recursive: true, force: true });
  }
}

function privateOptions(root: string, architecture: Architecture): string[] {
  const settings = {
    'Dir::State': join(root, 'state'),
    'Dir::Cache': join(root, 'cache'),
    'Dir::Etc::sourcelist': join(root, 'etc/sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Acquire::Languages': 'none',
  };
  return [
    ...commonOptions(architecture),
    ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...sandboxOptions(),
  ];
}

export interface Mirrors {
  readonly main: string;
  readonly security: string;
}

/** The release's sources at this machine's mirrors, in apt's one-line form. Throws a GuestFilesError where Debian's keys are missing. */
export function debianSources({ suite, architecture }: { suite: Suite; architecture: Architecture }): string {
  const { main, security } = machineMirrors();
  const keyring = KEYRINGS.find((path) => existsSync(path));
  if (keyring === undefined) {
    throw new GuestFilesError(
      `Debian's archive keys are missing (${KEYRINGS[0]}): install the package debian-archive-keyring.`,
    );
  }
  const line = (uri: string, release: string): string =>
    `deb [arch=${architecture} signed-by=${keyring}] ${uri} ${release} main\n`;
  return line(main, suite) + line(main, `${suite}-updates`) + line(security, `${suite}-security`);
}

function machineMirrors(): Mirrors {
  const files = ['/etc/apt/sources.list'];
  const parts = '/etc/apt/sources.list.d';
  if (existsSync(parts)) files.push(...readdirSync(parts).map((name) => join(parts, name)));
  const readable = files.filter((path) => /\.(list|sources)$/.test(path) && existsSync(path));
  return parseMirrors(readable.map((path) => readFileSync(path, 'utf8')).join('\n'));
}

/** The Debian mirrors that apt's source lists name, in either of their two forms; Debian's own where they name none. */
export function parseMirrors(sources: string): Mirrors {
  const uris = [...sources.matchAll(/^(?:deb\s+(?:\[[^\]]*\]\s*)?(\S+)|URIs:\s*(\S+))/gm)].map(([, oneLine, deb822]) =>
    (oneLine ?? deb822 ?? '').replace(/\/+$/, ''),
  );
  return {
    main: uris.find((uri) => /\/debian(\/\d{8}T\d{6}Z)?$/.test(uri)) ?? DEFAULT_MIRROR,
    security: uris.find((uri) => /\/debian-security(\/\d{8}T\d{6}Z)?$/.test(uri)) ?? DEFAULT_SECURITY_MIRROR,
  };
}

/** The fields of a package's newest version, as `apt-cache show` prints them. */
export async function packageFields(apt: Apt, name: string): Promise<ReadonlyMap<string, string>> {
  let text: string;
  try {
    text = await runCommand('apt-cache', [...apt.options, 'show', '--no-all-versions', '--', name]);
  } catch (error) {
    if (!(error instanceof GuestFilesError) || error.missingProgram) throw error;
    throw new GuestFilesError(`package '${name}' was not found in the ${apt.description}: ${error.message}`);
  }
  return new Map([...text.matchAll(/^([\w-]+): (.*)$/gm)].map(([, field = '', value = '']) => [field, value]));
}

/** The newest version of one package. */
export async function newestVersion(apt: Apt, name: string): Promise<PackageVersion> {
  const fields = await packageFields(apt, name);
  const version = fields.get('Version');
  const architecture = fields.get('Architecture');
  if (version === undefined || architecture === undefined) {
    throw new GuestFilesError(`package '${name}' was not found in the ${apt.description}`);
  }
  return { name, version, architecture };
}

/** The packages with all that they depend on, as apt's own resolver would install them into an empty system. */
export async function dependencyClosure(apt: Apt, names: readonly string[]): Promise<PackageVersion[]> {
  // A quiet simulation prints nothing.
  const options = apt.options.filter((option) => option !== '-qq');
  const parameters = [...options, '--simulate', '--no-install-recommends', 'install', '--', ...names];
  return parseSimulation(await runCommand('apt-get', parameters));
}

/** Reads lines such as `Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])`. */
export function parseSimulation(text: string): PackageVersion[] {
  const lines = text.matchAll(/^Inst (\S+) (?:\[[^\]]*\] )?\((\S+) .*?\[(\w+)\]\)/gm);
  return [...lines].map(([, name = '', version = '', architecture = '']) => ({ name, version, architecture }));
}

/** Downloads into `folder`, under apt's names for the files, each verified by apt. */
export async function download(
  apt: Apt,
  packages: readonly PackageVersion[],
  options: { folder: string; progress: Progress },
): Promise<void> {
  const wanted = packages.map(({ name, version, architecture }) =>
    architecture === 'all' ? `${name}=${version}` : `${name}:${architecture}=${version}`,
  );
  const step = `downloading ${describePackages(packages)} (apt-get download)`;
  await runCommand('apt-get', [...apt.options, 'download', '--', ...wanted], {
    cwd: options.folder,
    step,
    progress: options.progress,
  });
}

/** For lines of progress: the names of a few packages, the number of many. */
export function describePackages(packages: readonly PackageVersion[]): string {
  return packages.length > 4 ? `${packages.length} packages` : packages.map(({ name }) => name).join(', ');
}

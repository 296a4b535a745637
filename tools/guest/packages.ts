/** Unpacked Debian packages in the cache, one folder for each version. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Apt,
  type AptOptions,
  dependencyClosure,
  describePackages,
  download,
  LIST_AGE_LIMIT_MS,
  machineSuite,
  newestVersion,
  openApt,
  openPrivateApt,
  type PackageVersion,
  packageFields,
} from './apt.ts';
import { ageMs, type CacheFolder, cached, writeAtomically } from './cache-folder.ts';
import { GuestFilesError } from './guest-error.ts';
import { runCommand } from './run-command.ts';

export interface UnpackedPackage extends PackageVersion {
  /** The package's files, as `dpkg -x` makes them. */
  readonly files: string;
  /** Its control files, as `dpkg -e` makes them. */
  readonly control: string;
}

/** The package that depends on Debian's newest kernel for virtual machines. */
const KERNEL_PACKAGE = 'linux-image-cloud-amd64';

/** The newest kernel package of the release: the one that the metapackage depends on. */
export function fetchKernelPackage(options: AptOptions): Promise<UnpackedPackage> {
  return fetchOne(options, KERNEL_PACKAGE, async (apt) => {
    const depends = (await packageFields(apt, KERNEL_PACKAGE)).get('Depends') ?? '';
    const versioned = /\blinux-image-\d[^\s,]*/.exec(depends)?.[0];
    if (versioned === undefined) {
      throw new GuestFilesError(`'${KERNEL_PACKAGE}' depends on no kernel in the ${apt.description}: ${depends}`);
    }
    return [await newestVersion(apt, versioned)];
  });
}

/** The newest version of one package, without what it depends on. */
export function fetchPackage(options: AptOptions, name: string): Promise<UnpackedPackage> {
  return fetchOne(options, name, async (apt) => [await newestVersion(apt, name)]);
}

/** The newest versions of the packages and of all that they depend on. */
export function fetchClosure(options: AptOptions, names: readonly string[]): Promise<UnpackedPackage[]> {
  const wanted = [...new Set(names)].toSorted();
  checkPackageNames(wanted);
  return fetchAll(options, `closure ${wanted.join(' ')}`, (apt) => dependencyClosure(apt, wanted));
}

/** Throws a GuestFilesError for what is more or less than a name: such words mean something else to apt. */
export function checkPackageNames(names: readonly string[]): void {
  for (const name of names) {
    if (!/^[a-z0-9][a-z0-9+.-]+$/.test(name)) throw new GuestFilesError(`'${name}' is not the name of a package`);
  }
}

type Resolve = (apt: Apt) => Promise<PackageVersion[]>;

async function fetchOne(options: AptOptions, key: string, resolve: Resolve): Promise<UnpackedPackage> {
  const [only] = await fetchAll(options, key, resolve);
  if (only === undefined) throw new GuestFilesError(`apt resolved '${key}' to nothing`);
  return only;
}

/**
 * Resolves to versions at most once a day, then downloads and unpacks what the cache lacks. Where that fails (no
 * network) and the cache holds an older answer whole, that is used and said.
 */
async function fetchAll(options: AptOptions, key: string, resolve: Resolve): Promise<UnpackedPackage[]> {
  const { cache, progress } = options;
  const answer = answerName(options, key);
  const known = readAnswer(cache, answer);
  if (known && ageMs(join(cache.path, answer)) < LIST_AGE_LIMIT_MS && allUnpacked(cache, known)) {
    return known.map((version) => located(cache, version));
  }
  try {
    const versions = await resolveAndUnpack(options, resolve);
    writeAtomically(cache, answer, `${JSON.stringify({ key, versions }, null, 1)}\n`);
    return versions.map((version) => located(cache, version));
  } catch (error) {
    if (!(error instanceof GuestFilesError) || !known || !allUnpacked(cache, known)) throw error;
    progress(`${error.message}\nusing what was fetched earlier`);
    return known.map((version) => located(cache, version));
  }
}

/** Where the machine's lists do not serve (a package has since left the mirror, a section is not in them), ours may. */
async function resolveAndUnpack(options: AptOptions, resolve: Resolve): Promise<PackageVersion[]> {
  const apt = await openApt(options);
  try {
    const versions = await resolve(apt);
    await unpackMissing(apt, versions, options);
    return versions;
  } catch (error) {
    if (!apt.ofMachine || !(error instanceof GuestFilesError) || error.missingProgram) throw error;
    options.progress(`${error.message}\ntrying again with package lists of our own`);
    const own = await openPrivateApt(options);
    const versions = await resolve(own);
    await unpackMissing(own, versions, options);
    return versions;
  }
}

function answerName({ suite, architecture = 'amd64' }: AptOptions, key: string): string {
  const full = architecture === 'amd64' ? key : `${architecture} ${key}`;
  const digest = createHash('sha256').update(full).digest('hex').slice(0, 12);
  return `versions-${suite ?? machineSuite() ?? 'bookworm'}-${digest}.json`;
}

function readAnswer(cache: CacheFolder, name: string): readonly PackageVersion[] | undefined {
  const path = join(cache.path, name);
  if (!existsSync(path)) return undefined;
  return (JSON.parse(readFileSync(path, 'utf8')) as { versions: PackageVersion[] }).versions;
}

/** Debian's file name without its end; a colon in a version is written %3a as apt does. */
export function packageFolderName({ name, version, architecture }: PackageVersion): string {
  return `${name}_${version.replaceAll(':', '%3a')}_${architecture}`;
}

function located(cache: CacheFolder, version: PackageVersion): UnpackedPackage {
  const folder = join(cache.path, 'packages', packageFolderName(version));
  return { ...version, files: join(folder, 'files'), control: join(folder, 'control') };
}

function allUnpacked(cache: CacheFolder, versions: readonly PackageVersion[]): boolean {
  return versions.every((version) => existsSync(located(cache, version).files));
}

async function unpackMissing(apt: Apt, versions: readonly PackageVersion[], options: AptOptions): Promise<void> {
  const { cache, progress } = options;
  const missing = versions.filter((version) => !existsSync(located(cache, version).files));
  if (missing.length === 0) return;
  const downloads = await cached(cache, downloadsName(missing), async (temporary) => {
    mkdirSync(temporary);
    await download(apt, missing, { folder: temporary, progress });
  });
  progress(`unpacking ${describePackages(missing)}`);
  for (const version of missing) await unpack(cache, version, downloads);
  rmSync(downloads, { recursive: true, force: true });
}

function downloadsName(versions: readonly PackageVersion[]): string {
  const digest = createHash('sha256').update(versions.map(packageFolderName).join('\n')).digest('hex');
  return `tmp-${process.pid}-${digest.slice(0, 12)}`;
}

async function unpack(cache: CacheFolder, version: PackageVersion, downloads: string): Promise<void> {
  const name = packageFolderName(version);
  const archive = readdirSync(downloads).find((file) => file === `${name}.deb`);
  if (archive === undefined) throw new GuestFilesError(`apt-get download did not bring ${name}.deb`);
  await cached(cache, join('packages', name), async (temporary) => {
    mkdirSync(temporary);
    const path = join(downloads, archive);
    await runCommand('dpkg', ['-x', path, join(temporary, 'files')]);
    await runCommand('dpkg', ['-e', path, join(temporary, 'control')]);
  });
}

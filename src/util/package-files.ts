/**
 * The files of the package, found alike from its sources and from the program that `npm run build` makes of them: both lie two folders below the
 * package's own.
 */
const HERE = import.meta.url;
const ROOT = new URL('../../', HERE);
const IS_SOURCE = HERE.endsWith('.ts');

/** A file or folder of the package, by its path there. */
export function packageFile(path: string): URL {
  return new URL(path, ROOT);
}

/** The module that a process or thread begins with, by its path in `src/` without `.ts`. The built program has it by its name alone. */
export function programEntry(path: string): URL {
  return packageFile(IS_SOURCE ? `src/${path}.ts` : `dist/program/${path.slice(path.lastIndexOf('/') + 1)}.js`);
}

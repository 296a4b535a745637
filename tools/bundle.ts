/**
 * Bundles: one file for each module that a process, a thread or a dynamic import begins with, with all that it imports. Most of the time in which Node
 * loads many small modules goes to finding and linking them (docs/decisions/0015-start.md).
 *
 * A bundle has its modules as functions that are called in order and return what they export; they lie in one registry for a process, so that a module
 * of two bundles is made once. What has no form there is refused: cycles of imports, an exported `let`, `export *` and `export default`.
 */
import { stripTypeScriptTypes } from 'node:module';
import { dirname, posix } from 'node:path';

/** The registry's module, in the folder of all bundles. */
export const REGISTRY = 'modules.js';
export const REGISTRY_SOURCE = `export const modules = Object.create(null);
/** What import.meta says in a module that is part of a bundle. */
export function metaOf(path) {
  const url = new URL(path, import.meta.url);
  return { url: url.href, filename: decodeURIComponent(url.pathname), main: false };
}
`;

const IMPORT = /^import\s+(?:([\w$]+)\s+from\s+|\{([^}]*)\}\s*from\s+|)'([^']+)';/gm;
const REEXPORT = /^export\s+\{([^}]*)\}\s*from\s+'([^']+)';/gm;
const EXPORT_LIST = /^export\s+\{([^}]*)\};/gm;
const EXPORT = /^export\s+((?:async\s+)?(?:const|function\*?|class)\s+([\w$]+))/gm;
const DYNAMIC_IMPORT = /\bimport\('([^']+)'\)/g;
const TOP_LEVEL_AWAIT = /^(?!.*\basync\b)[^\s/*}].*\bawait\b/m;

export interface Module {
  readonly id: string;
  /** Ids of the modules it imports, in order. */
  readonly imports: readonly string[];
  /** Those of its dynamic imports. */
  readonly loads: readonly string[];
  /** Modules that are not ours. */
  readonly externals: readonly string[];
  readonly exports: readonly string[];
  /** The code of a function, less the return of its exports. */
  readonly body: string;
  readonly waits: boolean;
}

/** The module a specifier names; undefined when it is not one of ours. `id` is a path below src/. */
function resolveImport(id: string, specifier: string): string | undefined {
  if (specifier.startsWith('#')) return specifier.slice(1);
  return specifier.startsWith('.') ? posix.join(dirname(id), specifier) : undefined;
}

/** `a, b as c` as pairs of the name inside and the name outside. */
function namesOf(list: string): (readonly [string, string])[] {
  const names = list.split(',').map((name) => name.trim());
  return names.filter(Boolean).map((name) => {
    const [inner = '', outer = inner] = name.split(/\s+as\s+/);
    return [inner, outer] as const;
  });
}

const external = (specifier: string): string => `external_${specifier.replaceAll(/\W/g, '_')}`;

/** Takes a source apart. `id` is its path below src/. */
export function parseModule(id: string, source: string): Module {
  const imports: string[] = [];
  const externals: string[] = [];
  const exported: (readonly [string, string])[] = [];
  const from = (specifier: string): string => {
    const target = resolveImport(id, specifier);
    (target === undefined ? externals : imports).push(target ?? specifier);
    return target === undefined ? external(specifier) : `modules[${JSON.stringify(target)}]`;
  };
  const body = stripTypeScriptTypes(source)
    .replaceAll(IMPORT, (_, whole: string | undefined, list: string | undefined, specifier: string) => {
      const module = from(specifier);
      if (whole !== undefined) return `const { default: ${whole} } = ${module};`;
      const names = namesOf(list ?? '').map(([inner, outer]) => (inner === outer ? inner : `${inner}: ${outer}`));
      return names.length === 0 ? '' : `const { ${names.join(', ')} } = ${module};`;
    })
    .replaceAll(REEXPORT, (_, list: string, specifier: string) => {
      const module = from(specifier);
      for (const [inner, outer] of namesOf(list)) exported.push([`${module}.${inner}`, outer]);
      return '';
    })
    .replaceAll(EXPORT_LIST, (_, list: string) => {
      exported.push(...namesOf(list));
      return '';
    })
    .replaceAll(EXPORT, (_, declaration: string, name: string) => {
      exported.push([name, name]);
      return declaration;
    });
  const left = /^(?:import|export)\b(?!\s*[(.]).*/m.exec(body)?.[0];
  if (left !== undefined) throw new Error(`${id}: a bundle has no form for: ${left}`);
  const loads = [...body.matchAll(DYNAMIC_IMPORT)].map(([, specifier = '']) => resolveImport(id, specifier) ?? '');
  const result = exported.map(([inner, outer]) => (inner === outer ? inner : `${outer}: ${inner}`)).join(', ');
  return {
    id,
    imports,
    externals,
    loads: loads.filter(Boolean),
    exports: exported.map(([, name]) => name),
    body: `${body}\nreturn { ${result} };`,
    waits: TOP_LEVEL_AWAIT.test(body),
  };
}

/** All modules of the program, and the bundles they are put in. */
export class Bundler {
  readonly #modules = new Map<string, Module>();
  readonly #roots: readonly string[];
  readonly #read: (id: string) => string;

  /** `roots` are the modules that processes and threads begin with; `read` has the sources, by their paths. */
  constructor(roots: readonly string[], read: (id: string) => string) {
    this.#roots = roots;
    this.#read = read;
  }

  /** Ids of all modules that get a bundle. */
  entries(): readonly string[] {
    const found = new Set(this.#roots);
    // Grows while it is walked.
    for (const entry of found)
      for (const id of this.#closure(entry)) for (const load of this.#module(id).loads) found.add(load);
    return [...found];
  }

  /** The text of the bundle of one entry. Throws Error for a cycle of imports. */
  bundle(entry: string): string {
    const loaded = this.#loadedBefore(entry);
    const modules = this.#closure(entry)
      .filter((id) => id === entry || !loaded.has(id))
      .map((id) => this.#module(id));
    const externals = [...new Set(modules.flatMap((module) => module.externals))];
    const last = this.#module(entry);
    return [
      `import { metaOf, modules } from '${pathTo(entry, REGISTRY)}';`,
      ...externals.map((specifier) => `import * as ${external(specifier)} from '${specifier}';`),
      ...modules.map((module) => moduleText(module, entry)),
      `export const { ${last.exports.join(', ')} } = modules[${JSON.stringify(entry)}];`,
      '',
    ].join('\n');
  }

  #module(id: string): Module {
    const known = this.#modules.get(id);
    if (known !== undefined) return known;
    const module = parseModule(id, this.#read(id));
    this.#modules.set(id, module);
    return module;
  }

  /** What a module needs, itself last, each after what it imports. */
  #closure(entry: string): readonly string[] {
    const done = new Set<string>();
    const visit = (id: string, path: readonly string[]): void => {
      if (done.has(id)) return;
      if (path.includes(id)) throw new Error(`imports in a cycle: ${[...path, id].join(' → ')}`);
      for (const next of this.#module(id).imports) visit(next, [...path, id]);
      done.add(id);
    };
    visit(entry, []);
    return [...done];
  }

  /** Modules that are there whenever the bundle is loaded: those of every bundle that loads it. */
  #loadedBefore(entry: string): ReadonlySet<string> {
    if (this.#roots.includes(entry)) return new Set();
    const loaders = this.entries().filter((id) =>
      this.#closure(id).some((each) => this.#module(each).loads.includes(entry)),
    );
    const sets = loaders.map((id) => new Set([...this.#closure(id), ...this.#loadedBefore(id)]));
    return sets.reduce((common, set) => common.intersection(set));
  }
}

function moduleText({ id, body, waits }: Module, entry: string): string {
  const own = id === entry ? body : body.replaceAll('import.meta', 'importMeta');
  const meta = own === body ? '' : `const importMeta = metaOf(${JSON.stringify(id.replace(/ts$/, 'js'))});\n`;
  const code = own.replaceAll(DYNAMIC_IMPORT, (_, specifier: string) => {
    const target = resolveImport(id, specifier);
    return `import('${target === undefined ? specifier : pathTo(entry, target)}')`;
  });
  const call = waits ? 'await (async () => {' : '(() => {';
  return `modules[${JSON.stringify(id)}] ??= ${call}\n${meta}${code}\n})();`;
}

/** A specifier for one file of the bundles' folder in another. */
function pathTo(from: string, to: string): string {
  const path = posix.relative(dirname(from), to).replace(/\.ts$/, '.js');
  return path.startsWith('.') ? path : `./${path}`;
}

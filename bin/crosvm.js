#!/usr/bin/env node
// Runs the command line: the sources of a checkout, or what was built from them in an installed package. Written so that
// every Node.js with modules can read it: an old one must be able to say that it is old.

const OLDEST = 24;

if (Number.parseInt(process.versions.node, 10) < OLDEST) {
  process.stderr.write(`crosvm: needs Node.js ${OLDEST} or newer; this is ${process.versions.node}\n`);
  process.exitCode = 1;
} else {
  import('node:fs')
    .then(({ existsSync }) => {
      const source = new URL('../src/cli/main.ts', import.meta.url);
      return import(existsSync(source) ? source.href : new URL('../dist/program/main.js', import.meta.url).href);
    })
    .then(({ main }) => main(process.argv.slice(2)))
    // A running machine leaves handles behind (worker threads, pipes) that must not keep the process.
    .then((status) => process.exit(status));
}

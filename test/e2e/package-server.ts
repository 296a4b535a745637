/** A repository of Debian packages on the host's loopback, as apt reads it: one package, made here. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** Name of the package and of its program. */
export const HELLO = 'crosvm-hello';
/** What its program prints. */
export const GREETING = 'hello from an installed package';

const CONTROL = `Package: ${HELLO}
Version: 1.0
Architecture: all
Maintainer: Nobody <nobody@localhost>
Description: prints a greeting
`;

function buildPackage(folder: string): Uint8Array {
  const root = join(folder, HELLO);
  for (const path of ['DEBIAN', 'usr/bin']) mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, 'DEBIAN/control'), CONTROL);
  const program = join(root, 'usr/bin', HELLO);
  writeFileSync(program, `#!/bin/sh\necho '${GREETING}'\n`);
  chmodSync(program, 0o755);
  const path = join(folder, `${HELLO}.deb`);
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', root, path], { stdio: 'ignore' });
  return readFileSync(path);
}

/** Serves until the test ends; `folder` takes the package. `requests` are the paths that were asked for. */
export async function servePackages(t: TestContext, folder: string): Promise<{ port: number; requests: string[] }> {
  const deb = buildPackage(folder);
  const sum = createHash('sha256').update(deb).digest('hex');
  const index = `${CONTROL}Filename: ./${HELLO}.deb\nSize: ${deb.byteLength}\nSHA256: ${sum}\n`;
  const files = new Map<string, string | Uint8Array>([
    ['/Packages', index],
    [`/${HELLO}.deb`, deb],
  ]);
  const requests: string[] = [];
  const server = createServer(({ url = '' }, response) => {
    const path = url.replace('/./', '/');
    requests.push(path);
    const content = files.get(path);
    response.statusCode = content === undefined ? 404 : 200;
    response.end(content);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return { port: (server.address() as AddressInfo).port, requests };
}
